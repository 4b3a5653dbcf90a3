#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/exchange/collective.h"

namespace barn {

struct CollectiveOptions {
  int64_t epoch = 0;
  std::string token;  // The plan's secret; every message must bring it.
  int rank = 0;
  std::vector<std::string> addresses;  // UcxPort::address() of every rank, this one's too.
  int64_t floats_max = 0;              // SharedRows of one call, over all ranks.
};

// This process's end of the links between ranks on one machine: UCX in shared memory, which no other machine can reach.
// One thread at a time.
class UcxPort {
 public:
  // Unavailable: this build or this machine has no UCX, or it finds no shared memory.
  static absl::StatusOr<std::unique_ptr<UcxPort>> Open();
  virtual ~UcxPort() = default;

  // What the other ranks need; valid while the port lives. Bytes, not text.
  virtual const std::string& address() const = 0;

  // One collective for each epoch; none may outlive the port. Spins while it waits, then yields, then sleeps.
  // InvalidArgument: options make no sense. Unavailable: a rank is gone.
  virtual absl::StatusOr<std::unique_ptr<Collective>> Join(const CollectiveOptions& options) = 0;
};

inline constexpr size_t kUcxAddressBytesMax = 1024;

// What processes must have in common to share memory by UCX: boot, user, namespaces, /dev/shm. Two processes with the
// same text are on one machine. Empty: cannot be told.
std::string SharedMemoryDomain();

}  // namespace barn
