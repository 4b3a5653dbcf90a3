#include "worker/model/routing.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/check.h"

namespace barn {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();

// The smallest normal half, as the reference clamps: a sum of weights below it would blow up.
constexpr float kWeightSumMin = 6.103515625e-5f;

float Sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

// Without overflow: softplus(x) = max(x, 0) + log1p(exp(-|x|)).
float SqrtSoftplus(float x) { return std::sqrt(std::max(x, 0.0f) + std::log1p(std::exp(-std::fabs(x)))); }

// In place. An all -inf input gives equal shares.
void Softmax(std::span<float> x) {
  const float top = *std::max_element(x.begin(), x.end());
  if (top == kLowest) {
    std::fill(x.begin(), x.end(), 1.0f / static_cast<float>(x.size()));
    return;
  }
  float sum = 0;
  for (float& value : x) {
    value = std::exp(value - top);
    sum += value;
  }
  for (float& value : x) {
    value /= sum;
  }
}

// Indices of the `count` largest values, best first, ties by the lower index.
void Top(std::span<const float> values, std::span<int32_t> order, int64_t count) {
  std::iota(order.begin(), order.begin() + values.size(), 0);
  std::partial_sort(order.begin(), order.begin() + count, order.begin() + values.size(),
                    [&](int32_t a, int32_t b) { return values[a] != values[b] ? values[a] > values[b] : a < b; });
}

float Clean(float logit) { return std::isnan(logit) ? kLowest : std::min(logit, std::numeric_limits<float>::max()); }

}  // namespace

Router::Router(const RoutingSpec& spec)
    : spec_(spec),
      scores_(spec.experts),
      selection_(spec.experts),
      order_(std::max(spec.experts, spec.groups)),
      group_scores_(spec.groups) {
  BARN_CHECK(spec.used >= 1 && spec.used <= spec.experts);
  BARN_CHECK(spec.groups >= 1 && spec.experts % spec.groups == 0);
  BARN_CHECK(spec.groups_used >= 1 && spec.groups_used <= spec.groups);
  BARN_CHECK(spec.groups_used * (spec.experts / spec.groups) >= spec.used);
}

void Router::Route(std::span<const float> logits, std::span<const float> selection_bias, std::span<int32_t> experts,
                   std::span<float> weights) {
  Score(logits);
  for (int64_t e = 0; e < spec_.experts; ++e) {
    selection_[e] = scores_[e] + (selection_bias.empty() ? 0.0f : Clean(selection_bias[e]));
  }
  if (spec_.groups_used < spec_.groups) {
    DropGroups();
  }
  Top(selection_, order_, spec_.used);
  std::copy_n(order_.begin(), spec_.used, experts.begin());
  Weigh(logits, experts, weights);
}

void Router::Score(std::span<const float> logits) {
  std::transform(logits.begin(), logits.end(), scores_.begin(), Clean);
  switch (spec_.scores) {
    case ExpertScores::kSoftmax:
      Softmax(scores_);
      break;
    case ExpertScores::kSigmoid:
      std::transform(scores_.begin(), scores_.end(), scores_.begin(), Sigmoid);
      break;
    case ExpertScores::kSqrtSoftplus:
      std::transform(scores_.begin(), scores_.end(), scores_.begin(), SqrtSoftplus);
      break;
    case ExpertScores::kSoftmaxOfSelected:
    case ExpertScores::kSigmoidOfSelected:
      break;
  }
}

// Group-limited selection (DeepSeek-V3, section 2.1.2).
void Router::DropGroups() {
  const int64_t size = spec_.experts / spec_.groups;
  for (int64_t g = 0; g < spec_.groups; ++g) {
    const std::span<const float> group(selection_.data() + g * size, size);
    Top(group, order_, std::min<int64_t>(2, size));
    group_scores_[g] = Clean(group[order_[0]] + (size > 1 ? group[order_[1]] : 0.0f));
  }
  Top(group_scores_, order_, spec_.groups);
  for (int64_t i = spec_.groups_used; i < spec_.groups; ++i) {
    std::fill_n(selection_.begin() + order_[i] * size, size, kLowest);
  }
}

void Router::Weigh(std::span<const float> logits, std::span<const int32_t> experts, std::span<float> weights) const {
  for (int64_t j = 0; j < spec_.used; ++j) {
    weights[j] = scores_[experts[j]];
    if (spec_.scores == ExpertScores::kSigmoidOfSelected) {
      weights[j] = Sigmoid(Clean(logits[experts[j]]));
    }
  }
  if (spec_.scores == ExpertScores::kSoftmaxOfSelected) {
    Softmax(weights.first(spec_.used));
  }
  float factor = spec_.scale;
  if (spec_.renormalize) {
    factor /= std::max(std::accumulate(weights.begin(), weights.begin() + spec_.used, 0.0f), kWeightSumMin);
  }
  for (float& weight : weights.first(spec_.used)) {
    weight *= factor;
  }
}

}  // namespace barn
