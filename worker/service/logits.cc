#include "worker/service/logits.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_format.h"

namespace barn {
namespace {

float OrSmallest(float value) { return std::isnan(value) ? -std::numeric_limits<float>::infinity() : value; }

bool Better(const RankedLogit& a, const RankedLogit& b) {
  const float x = OrSmallest(a.logit), y = OrSmallest(b.logit);
  return x > y || (x == y && a.id < b.id);
}

}  // namespace

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

std::vector<RankedLogit> TopLogits(std::span<const float> logits, int64_t count) {
  const size_t wanted = std::clamp<int64_t>(count, 0, static_cast<int64_t>(logits.size()));
  if (wanted == 0) {
    return {};
  }
  // A heap of the best so far with the worst on top: most entries fail one comparison and are gone.
  std::vector<RankedLogit> best;
  best.reserve(wanted);
  for (size_t id = 0; id < logits.size(); ++id) {
    const RankedLogit entry{static_cast<int32_t>(id), logits[id]};
    if (best.size() < wanted) {
      best.push_back(entry);
      std::push_heap(best.begin(), best.end(), Better);
    } else if (Better(entry, best.front())) {
      std::pop_heap(best.begin(), best.end(), Better);
      best.back() = entry;
      std::push_heap(best.begin(), best.end(), Better);
    }
  }
  std::sort_heap(best.begin(), best.end(), Better);
  return best;
}

double LogSumExp(std::span<const float> logits) {
  float largest = -std::numeric_limits<float>::infinity();
  for (const float logit : logits) {
    largest = std::max(largest, OrSmallest(logit));
  }
  if (std::isinf(largest)) {
    return largest;
  }
  double sum = 0;
  for (const float logit : logits) {
    sum += std::exp(static_cast<double>(OrSmallest(logit)) - largest);
  }
  return largest + std::log(sum);
}

bool IsBest(std::span<const float> logits, int32_t id) {
  const float mine = logits[id];
  return std::none_of(logits.begin(), logits.end(), [mine](float other) { return other > mine; });
}

}  // namespace barn
