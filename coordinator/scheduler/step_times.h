#pragma once

#include <cstdint>

#include "absl/time/time.h"

namespace barn {

// What steps cost, learned from those that ran, so that chunks of prompts can be cut to a time. A step without prompts
// costs `fixed + per row`, fitted by least squares that forget; what a mixed step took beyond that is its prompts'.
class StepTimes {
 public:
  // A step of so many rows has run; `took` is the time that it held up the steps behind it.
  void Add(int64_t decoding_rows, int64_t prompt_rows, absl::Duration took);

  // A step of decoding sequences alone. Zero before the first such step.
  absl::Duration Decoding(int64_t rows) const;
  // The most prompt rows that take no longer than `budget`, and at least kRowsMin, or nothing would ever get on.
  // Before the first measurement that is all.
  int64_t PromptRows(absl::Duration budget) const;
  // The next step should go without prompts: too many mixed ones have run since the last without, so nobody knows any
  // more what those cost.
  bool WantsPlainStep() const { return mixed_since_plain_ >= kMixedStepsMax; }

  static constexpr int64_t kRowsMin = 4;
  static constexpr int kMixedStepsMax = 32;  // One step in 33 costs prompts 3 %.

 private:
  // Sums of the fit over plain steps: weight, rows, squares, time, rows x time.
  double weight_ = 0, rows_ = 0, squares_ = 0, time_us_ = 0, rows_time_us_ = 0;
  double prompt_row_us_ = 0;
  int mixed_since_plain_ = 0;
};

}  // namespace barn
