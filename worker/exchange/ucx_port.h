#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "worker/exchange/rank_port.h"

namespace barn {

// Ranks on processors: UCX in shared memory, which no other machine can reach. Its collectives spin while they wait,
// then yield, then sleep.
class UcxPort : public RankPort {
 public:
  // Unavailable: this build or this machine has no UCX, or it finds no shared memory.
  static absl::StatusOr<std::unique_ptr<UcxPort>> Open();
};

inline constexpr size_t kUcxAddressBytesMax = 1024;

// What processes must have in common to share memory by UCX: boot, user, namespaces, /dev/shm. Two processes with the
// same text are on one machine. Empty: cannot be told.
std::string SharedMemoryDomain();

}  // namespace barn
