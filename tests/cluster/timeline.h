#pragma once

#include <cstdint>
#include <functional>
#include <queue>
#include <utility>
#include <vector>

#include "absl/time/time.h"

namespace barn {

// Simulated time: actions in the order of their times, those of one time in the order in which they were planned.
class Timeline {
 public:
  absl::Time now() const { return now_; }
  void At(absl::Time when, std::function<void()> action) {
    queue_.push({.when = when, .order = ++order_, .action = std::move(action)});
  }
  void RunFor(absl::Duration duration) {
    const absl::Time end = now_ + duration;
    while (RunOne(end)) {
    }
  }
  // False when `limit` passes before it is over.
  bool RunUntil(const std::function<bool()>& over, absl::Duration limit) {
    const absl::Time end = now_ + limit;
    while (!over()) {
      if (!RunOne(end)) return false;
    }
    return true;
  }

 protected:
  absl::Time now_ = absl::UnixEpoch();

 private:
  struct Timed {
    absl::Time when;
    int64_t order;
    std::function<void()> action;
    bool operator>(const Timed& other) const { return std::pair(when, order) > std::pair(other.when, other.order); }
  };

  bool RunOne(absl::Time limit) {
    if (queue_.top().when > limit) {
      now_ = limit;
      return false;
    }
    const Timed next = queue_.top();
    queue_.pop();
    now_ = next.when;
    next.action();
    return true;
  }

  std::priority_queue<Timed, std::vector<Timed>, std::greater<>> queue_;
  int64_t order_ = 0;
};

}  // namespace barn
