#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/cluster.pb.h"

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

// The ids that may be candidates (proto TokenMask).
struct LogitMask {
  enum class Form { kAll, kBits, kAllowed, kForbidden };
  Form form = Form::kAll;
  std::string bits;            // kBits: id i is allowed if bit i % 8 of byte i / 8 is set.
  std::vector<int32_t> named;  // Else these are allowed, or forbidden; ascending.
  int64_t allowed = 0;         // How many are.
};

// InvalidArgument: ids outside of the vocabulary, a wrong number of bits, both forms at once, or nothing allowed.
absl::StatusOr<LogitMask> ReadMask(const proto::TokenMask& mask, int64_t vocabulary);

// logits: f32[V], changed in place: what is not allowed becomes -infinity.
void ApplyMask(const LogitMask& mask, std::span<float> logits);

}  // namespace barn
