#include "coordinator/scheduler/step_times.h"

#include <algorithm>

namespace barn {
namespace {

constexpr double kKeep = 0.95;     // Of what is known, with each plain step: about twenty of them count.
constexpr double kCheaper = 0.25;  // A prompt row that got cheaper is believed slowly,
constexpr double kDearerMax = 2;   // one that got dearer at once, but for a single step that was held up by something.
constexpr double kPlainDearerMax = 3;

}  // namespace

void StepTimes::Add(int64_t decoding_rows, int64_t prompt_rows, absl::Duration took) {
  double us = absl::ToDoubleMicroseconds(took);
  const auto rows = static_cast<double>(decoding_rows);
  if (prompt_rows == 0) {
    mixed_since_plain_ = 0;
    if (weight_ >= 3) us = std::min(us, kPlainDearerMax * time_us_ / weight_);
    weight_ = weight_ * kKeep + 1;
    rows_ = rows_ * kKeep + rows;
    squares_ = squares_ * kKeep + rows * rows;
    time_us_ = time_us_ * kKeep + us;
    rows_time_us_ = rows_time_us_ * kKeep + rows * us;
    return;
  }
  if (decoding_rows > 0) ++mixed_since_plain_;
  const double beyond_us = us - absl::ToDoubleMicroseconds(Decoding(decoding_rows));
  const double row_us = std::max(0.0, beyond_us) / static_cast<double>(prompt_rows);
  // A few rows at the end of a prompt pay for the weights that a step reads, which says nothing about many rows.
  const bool few = prompt_rows < 2 * kRowsMin && prompt_row_us_ > 0;
  if (row_us < prompt_row_us_ || few) {
    prompt_row_us_ += (std::min(row_us, prompt_row_us_) - prompt_row_us_) * kCheaper;
  } else {
    prompt_row_us_ = prompt_row_us_ > 0 ? std::min(row_us, prompt_row_us_ * kDearerMax) : row_us;
  }
}

absl::Duration StepTimes::Decoding(int64_t rows) const {
  if (weight_ == 0 || rows == 0) return absl::ZeroDuration();
  const double mean_rows = rows_ / weight_, mean_us = time_us_ / weight_;
  const double spread = squares_ / weight_ - mean_rows * mean_rows;
  double per_row = 0;
  if (spread > 0.25) per_row = (rows_time_us_ / weight_ - mean_rows * mean_us) / spread;
  // More rows never cost less, nor more than their share.
  per_row = std::clamp(per_row, 0.0, mean_us / std::max(1.0, mean_rows));
  return absl::Microseconds(std::max(0.0, mean_us + per_row * (static_cast<double>(rows) - mean_rows)));
}

int64_t StepTimes::PromptRows(absl::Duration budget) const {
  if (prompt_row_us_ <= 0) return INT64_MAX;
  const double rows = absl::ToDoubleMicroseconds(budget) / prompt_row_us_;
  return rows >= 1e9 ? INT64_MAX : std::max(kRowsMin, static_cast<int64_t>(rows));
}

}  // namespace barn
