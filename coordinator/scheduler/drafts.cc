#include "coordinator/scheduler/drafts.h"

#include <algorithm>
#include <cmath>

namespace barn {
namespace {

constexpr double kDecay = 0.98;  // Of a step's weight with each step after it.
// Before two kinds of steps were seen: reading the weights takes about so many times as long as a row.
constexpr double kRowsOfWeightsDefault = 4;
constexpr double kMargin = 1.1;  // A gain below this is not worth the doubt.

constexpr int64_t kGramTokens = 3;
constexpr double kLearn = 0.1;    // Weight of the newest guess.
constexpr double kForget = 0.01;  // With each chance that is not taken, so that it tries again after a while.
constexpr double kChanceBlank = 0.5;
constexpr double kChanceMin = 0.02;

uint64_t GramAt(std::span<const int32_t> tokens, int64_t end) {
  uint64_t hash = 0;
  for (int64_t i = end - kGramTokens; i < end; ++i) {
    hash = (hash ^ static_cast<uint32_t>(tokens[i])) * 0x9E3779B97F4A7C15;
    hash ^= hash >> 29;
  }
  return hash;
}

}  // namespace

void StepCost::Observe(int64_t rows, int64_t compute_us) {
  const auto x = static_cast<double>(rows);
  const auto y = static_cast<double>(compute_us);
  for (double* sum : {&weight_, &rows_, &us_, &rows_rows_, &rows_us_}) *sum *= kDecay;
  weight_ += 1;
  rows_ += x;
  us_ += y;
  rows_rows_ += x * x;
  rows_us_ += x * y;
}

double StepCost::RowShare(int64_t rows) const {
  const auto count = static_cast<double>(std::max<int64_t>(1, rows));
  double row = 1, fixed = kRowsOfWeightsDefault;
  const double spread = weight_ * rows_rows_ - rows_ * rows_;
  if (spread > 1e-3 * weight_ * weight_) {
    row = std::max(0.0, (weight_ * rows_us_ - rows_ * us_) / spread);
    fixed = std::max(0.0, (us_ - row * rows_) / weight_);
  }
  const double step = fixed + row * count;
  return step > 0 ? kMargin * row * count / step : 1;
}

void NgramDrafter::Update(std::span<const int32_t> tokens) {
  // The n-gram at the very end is looked up, so it is entered only when there is something behind it.
  for (seen_ = std::max(seen_, kGramTokens); seen_ < std::ssize(tokens); ++seen_)
    behind_[GramAt(tokens, seen_)] = seen_;
}

std::vector<int32_t> NgramDrafter::Draft(std::span<const int32_t> tokens, int64_t tokens_max, double row_share) {
  Update(tokens);
  const int64_t known = std::ssize(tokens);
  if (known <= kGramTokens || tokens_max < 1) return {};
  const auto found = behind_.find(GramAt(tokens, known));
  if (found == behind_.end()) return {};
  // The last i with chance^i >= row_share.
  int64_t count = 0;
  if (row_share <= 0) {
    count = kDraftTokensMax;
  } else if (row_share < 1) {
    count = static_cast<int64_t>(std::min(100.0, std::log(row_share) / std::log(chance_)));
  }
  count = std::min({count, tokens_max, kDraftTokensMax});
  if (count < 1) {
    chance_ += kForget * (kChanceBlank - chance_);
    return {};
  }
  std::vector<int32_t> draft;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t index = found->second + i;  // Behind the end the guess goes on with itself: a loop.
    draft.push_back(index < known ? tokens[index] : draft[static_cast<size_t>(index - known)]);
  }
  return draft;
}

double NgramDrafter::Gain(int64_t count, double row_share) const {
  double gain = 0, comes_true = 1;
  for (int64_t i = 0; i < count; ++i) {
    comes_true *= chance_;
    gain += comes_true - row_share;
  }
  return gain;
}

void NgramDrafter::Learn(int64_t drafted, int64_t accepted) {
  for (int64_t i = 0; i < std::min(drafted, accepted + 1); ++i)
    chance_ += kLearn * ((i < accepted ? 1.0 : 0.0) - chance_);
  chance_ = std::clamp(chance_, kChanceMin, 1 - 1e-6);
}

}  // namespace barn
