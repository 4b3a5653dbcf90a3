#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#include "sharding/store/store.h"
#include "worker/memory/weights.h"

namespace barn {

// Weights straight from the parts of a model, mapped where the store can: an expert that no token uses then costs no
// memory. A store that cannot map is read into memory, one tensor at a time. Not thread-safe.
class MappedWeights : public WeightSource {
 public:
  // In part order, as GgufModel::parts().
  explicit MappedWeights(std::vector<std::shared_ptr<const Store>> parts) : parts_(std::move(parts)) {}

  absl::StatusOr<std::span<const std::byte>> Tensor(const GgufTensor& tensor) override;
  void Drop(const GgufTensor& tensor, int64_t offset, int64_t length) override;

 private:
  std::vector<std::shared_ptr<const Store>> parts_;
  std::map<std::tuple<int, int64_t, int64_t>, std::unique_ptr<ByteRange>> ranges_;  // By part, offset and size.
};

}  // namespace barn
