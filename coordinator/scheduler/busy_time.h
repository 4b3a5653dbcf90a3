#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>

#include "absl/time/time.h"

namespace barn {

// How a worker spent a stretch of time. The rest is idle: no step was there for it.
struct BusyShare {
  double seconds = 0;  // Length of the stretch; 0: nothing has been measured.
  double busy = 0;     // In kernels, 0 to 1.
  double wait = 0;     // A step was there, but not the activations of the stage before, 0 to 1.

  double idle() const { return seconds > 0 ? std::max(0.0, 1 - busy - wait) : 0; }
};

// Adds up what a worker says of its steps. A step counts when its answer comes, so shares of short stretches are rough;
// they are kept within 0 and 1.
class BusyTime {
 public:
  // The model became ready; what was before is forgotten.
  void Begin(absl::Time now);
  void Add(int64_t busy_us, int64_t wait_us);
  // To be called about once a second, for Recent.
  void Sample(absl::Time now);

  int64_t busy_us() const { return total_.busy_us; }
  int64_t wait_us() const { return total_.wait_us; }
  BusyShare SinceBegin(absl::Time now) const { return Since(begin_, now); }
  BusyShare Recent(absl::Time now) const;  // Of the last ten seconds.

 private:
  struct Reading {
    absl::Time at = absl::InfiniteFuture();
    int64_t busy_us = 0;
    int64_t wait_us = 0;
  };
  BusyShare Since(const Reading& then, absl::Time now) const;

  Reading total_;  // Its time is not used.
  Reading begin_;
  std::deque<Reading> samples_;  // Oldest first.
};

}  // namespace barn
