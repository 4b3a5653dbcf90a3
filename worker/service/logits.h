#pragma once

#include <cstdint>
#include <span>

#include "absl/status/status.h"

namespace barn {

// One change of a logit: l = l > 0 ? l / repetition : l * repetition, then l += add (proto LogitEdit).
struct LogitChange {
  int32_t id = 0;
  float add = 0;
  float repetition = 1;
};

// InvalidArgument: an id outside [0, vocabulary), a repetition that is not positive and finite, or an `add` that is not
// a number (infinities ban or force an id and are fine).
absl::Status CheckChanges(std::span<const LogitChange> changes, int64_t vocabulary);

// The standard deviation of the finite ones among `logits`; 0 if there is none.
double Deviation(std::span<const float> logits);

// logits: f32[V], changed in place. The changes passed CheckChanges.
void ApplyChanges(std::span<const LogitChange> changes, std::span<float> logits);

}  // namespace barn
