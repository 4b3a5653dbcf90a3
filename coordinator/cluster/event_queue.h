#pragma once

#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "coordinator/scheduler/fleet.h"

namespace barn {

// Where the threads of gRPC and of the front ends meet the one that runs the core. Thread-safe.
class EventQueue {
 public:
  void Push(FleetEvent event) {
    absl::MutexLock lock(&mutex_);
    events_.push_back(std::move(event));
  }

  // Everything that has come, in order; waits up to `timeout` for the first.
  std::vector<FleetEvent> Take(absl::Duration timeout) {
    absl::MutexLock lock(&mutex_);
    mutex_.AwaitWithTimeout(absl::Condition(
                                +[](std::vector<FleetEvent>* events) { return !events->empty(); }, &events_),
                            timeout);
    return std::exchange(events_, {});
  }

 private:
  absl::Mutex mutex_;
  std::vector<FleetEvent> events_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace barn
