#pragma once

#include <string>

#include "absl/time/time.h"
#include "coordinator/scheduler/engine.h"

namespace barn {

// "loading [#####     ]  52 %  1.14 GiB of 2.19 GiB  512 MiB/s  2 s left": one line for all workers together, or the
// reason why nothing loads yet.
std::string LoadLine(const EngineState& state);

// Draws LoadLine over itself on a terminal, or a line every 5 s into a file, on stderr.
class ProgressBar {
 public:
  ProgressBar();
  ~ProgressBar() { Finish(); }
  void Draw(const EngineState& state);
  void Finish();  // Clears the line. Safe to call again.

 private:
  const bool terminal_;
  bool drawn_ = false;
  std::string last_;
  absl::Time drawn_at_;
};

}  // namespace barn
