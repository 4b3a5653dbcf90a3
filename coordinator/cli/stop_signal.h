#pragma once

#include "absl/time/time.h"

namespace barn {

// SIGINT and SIGTERM as something to ask for. Make it before the first thread, so that all threads block the signals.
class StopSignal {
 public:
  StopSignal();
  bool Wait(absl::Duration longest);  // True once a signal came.

 private:
  bool came_ = false;
};

}  // namespace barn
