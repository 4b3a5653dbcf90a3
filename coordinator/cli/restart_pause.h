#pragma once

#include "absl/time/time.h"

namespace barn {

// How long a process that ended waits before it is started again: not at all the first time, then 1 s, 2 s, up to 30 s
// while it keeps ending within a minute of its start. Without this, one that cannot live would be started without end.
class RestartPause {
 public:
  // The process was started just now.
  void Started(absl::Time now);
  // Whether it may be started again, if it has ended.
  bool Over(absl::Time now) const { return now >= started_ + pause_; }

 private:
  absl::Time started_ = absl::InfinitePast();
  absl::Duration pause_;
};

}  // namespace barn
