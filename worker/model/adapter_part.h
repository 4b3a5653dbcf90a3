#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "sharding/adapter.h"

namespace barn {

// Rows of one of the model's tensors that a slice holds and that an adapter may add to.
struct AdapterTarget {
  std::string tensor;  // As AdapterPair::tensor.
  int64_t first_row = 0;
  int64_t rows = 0;
};

// What a slice needs of an adapter, in the host's memory.
struct AdapterPart {
  struct Pair {
    size_t target = 0;  // Index of the slice's targets.
    float scale = 1;
    FactorRows b;                         // Of the target's rows.
    std::shared_ptr<const FactorRows> a;  // Shared by targets of one tensor.
  };
  std::vector<Pair> pairs;
  std::vector<std::string> others;  // Tensors of the adapter that are no targets.
  size_t uploaded = 0;              // How many the slice has.
};

// May take long; on any thread. Errors of the adapter's files. Cancelled: stop.
absl::StatusOr<std::unique_ptr<AdapterPart>> ReadAdapterPart(const Adapter& adapter,
                                                             std::span<const AdapterTarget> targets,
                                                             const std::stop_token& stop = {});

}  // namespace barn
