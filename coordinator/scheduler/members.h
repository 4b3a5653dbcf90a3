#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "coordinator/scheduler/busy_time.h"
#include "coordinator/scheduler/engine.h"
#include "proto/cluster.pb.h"

namespace barn {

// A worker that has joined and is believed to live.
struct Member {
  int64_t id = 0;
  proto::Hello hello;
  absl::Time heard;       // Last message of any kind; the lease runs from here.
  absl::Time load_heard;  // Last sign of progress of the load.
  int stage = -1;         // In the plan of the current epoch; -1: holds nothing.
  int rank = 0;           // Of the stage.
  int64_t first_layer = 0;
  int64_t last_layer = 0;
  int64_t loaded_epoch = 0;  // Of the last load that it was sent; outlives the plan, so that a spare is told to unload.
  int64_t load_bytes_done = 0;
  int64_t load_bytes_total = 0;
  double load_bytes_per_second = 0;
  bool loaded = false;
  int64_t steps_answered = 0;  // Of the current epoch; step ids count from 1, so this is also the last answered id.
  BusyTime time;               // Of the current plan.

  WorkerState State(absl::Time now) const;
};

std::shared_ptr<const proto::CoordinatorMessage> WelcomeMessage(int64_t worker_id, absl::Duration heartbeat,
                                                                absl::Duration lease);

// The epoch that a worker speaks of; 0 where it speaks of none.
int64_t EpochOf(const proto::WorkerMessage& message);

// The workers by id. A worker leaves when its stream breaks, when its lease runs out or when it breaks the protocol.
class Members {
 public:
  // FailedPrecondition: another version of Barn. InvalidArgument: a field is out of bounds. ResourceExhausted: too
  // many.
  absl::Status Join(absl::Time now, int64_t id, const proto::Hello& hello, const std::string& version);
  void Remove(int64_t id) { members_.erase(id); }
  // InvalidArgument: a field is out of bounds.
  static absl::Status OnHeartbeat(const proto::Heartbeat& heartbeat, Member& member);

  Member* Find(int64_t id);
  // Ids of members whose last message is older than `lease`.
  std::vector<int64_t> Expired(absl::Time now, absl::Duration lease) const;
  // Forgets every part in a plan.
  void ClearStages();

  std::map<int64_t, Member>& by_id() { return members_; }
  const std::map<int64_t, Member>& by_id() const { return members_; }
  int size() const { return static_cast<int>(members_.size()); }

 private:
  std::map<int64_t, Member> members_;
};

}  // namespace barn
