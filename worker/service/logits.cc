#include "worker/service/logits.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"

namespace barn {
absl::Status CheckChanges(std::span<const LogitChange> changes, int64_t vocabulary) {
  for (const LogitChange& change : changes) {
    if (change.id < 0 || change.id >= vocabulary) {
      return absl::InvalidArgumentError(
          absl::StrFormat("logit edit of id %d, the vocabulary has %d", change.id, vocabulary));
    }
    if (!(change.repetition > 0) || std::isinf(change.repetition) || std::isnan(change.add)) {
      return absl::InvalidArgumentError(
          absl::StrFormat("logit edit of id %d: add %g, repetition %g", change.id, change.add, change.repetition));
    }
  }
  return absl::OkStatus();
}

void ApplyChanges(std::span<const LogitChange> changes, std::span<float> logits) {
  for (const LogitChange& change : changes) {
    float& logit = logits[change.id];
    logit = (logit > 0 ? logit / change.repetition : logit * change.repetition) + change.add;
  }
}

double Deviation(std::span<const float> logits) {
  double sum = 0;
  double squares = 0;
  int64_t count = 0;
  for (const float logit : logits) {
    if (!std::isfinite(logit)) continue;
    sum += logit;
    squares += static_cast<double>(logit) * logit;
    ++count;
  }
  if (count == 0) return 0;
  const double mean = sum / static_cast<double>(count);
  return std::sqrt(std::max(0.0, squares / static_cast<double>(count) - mean * mean));
}

}  // namespace barn
