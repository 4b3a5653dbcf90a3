#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/exchange/collective.h"

namespace barn {

struct CollectiveOptions {
  int64_t epoch = 0;
  std::string token = {};  // The plan's secret; every message must bring it.
  int rank = 0;
  std::vector<std::string> addresses;       // RankPort::address() of every rank, this one's too.
  int64_t floats_max = 0;                   // SharedRows of one call, over all ranks.
  WaitBounds wait = {};                     // For the other ranks to join, where the transport waits for that.
  std::function<void()> on_wait = nullptr;  // Called when that wait begins, and now and then in it.
};

// This process's end of the links between ranks on one machine. One thread at a time.
class RankPort {
 public:
  virtual ~RankPort() = default;

  // "UCX" or "NCCL 2.28.9": ranks need the same.
  virtual const std::string& transport() const = 0;
  // What the other ranks need. Bytes, not text. Another one after Join where an address serves once.
  virtual const std::string& address() const = 0;
  // Why no rank can be reached from here any more; OK: it can.
  virtual absl::Status usable() const { return absl::OkStatus(); }

  // One collective for each epoch; none may outlive the port. InvalidArgument: options make no sense. Unavailable: a
  // rank is gone, or the address of this one is another by now. Aborted, DeadlineExceeded: options.wait.
  virtual absl::StatusOr<std::unique_ptr<Collective>> Join(const CollectiveOptions& options) = 0;
};

inline constexpr int kRankPortRanksMax = 64;
inline constexpr int64_t kSharedFloatsMax = int64_t{1} << 28;  // Of one call.

}  // namespace barn
