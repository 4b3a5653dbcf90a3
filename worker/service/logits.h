#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"

namespace barn {

// One change of a logit: l = l > 0 ? l / repetition : l * repetition, then l += add (proto LogitEdit).
struct LogitChange {
  int32_t id = 0;
  float add = 0;
  float repetition = 1;
};

struct RankedLogit {
  int32_t id = 0;
  float logit = 0;
};

// InvalidArgument: an id outside [0, vocabulary), a repetition that is not positive and finite, or an `add` that is not
// a number (infinities ban or force an id and are fine).
absl::Status CheckChanges(std::span<const LogitChange> changes, int64_t vocabulary);

// logits: f32[V], changed in place. The changes passed CheckChanges.
void ApplyChanges(std::span<const LogitChange> changes, std::span<float> logits);

// The `count` largest, best first; ties by lower id; NaN counts as the smallest. count is clamped to [0, V].
std::vector<RankedLogit> TopLogits(std::span<const float> logits, int64_t count);

// log(sum(exp(logits))) in double, with the maximum taken out first. NaN entries do not count; -infinity when none
// does.
double LogSumExp(std::span<const float> logits);

// True when no other entry is larger than that of `id`.
bool IsBest(std::span<const float> logits, int32_t id);

}  // namespace barn
