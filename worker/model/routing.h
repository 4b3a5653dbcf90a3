#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace barn {

// How router logits become scores. The last two select by the logits and score only what was selected.
enum class ExpertScores { kSoftmax, kSigmoid, kSqrtSoftplus, kSoftmaxOfSelected, kSigmoidOfSelected };

struct RoutingSpec {
  int64_t experts = 0;
  int64_t used = 0;  // k
  ExpertScores scores = ExpertScores::kSoftmax;
  bool renormalize = false;
  float scale = 1;
  int64_t groups = 1;       // Consecutive groups of experts / groups each.
  int64_t groups_used = 1;  // Only the best groups stay eligible; a group's score is the sum of its two best.
};

// Chooses the experts of one token. Everything is F32 in a fixed order and ties go to the lowest index, so that every
// rank that computes this from the same logits agrees.
class Router {
 public:
  explicit Router(const RoutingSpec& spec);

  // logits: [E], with the router's own bias; selection_bias: [E] or empty, added to the scores for selection only.
  // experts, weights: [k], best selection score first. A logit that is not a number counts as the smallest.
  void Route(std::span<const float> logits, std::span<const float> selection_bias, std::span<int32_t> experts,
             std::span<float> weights);

 private:
  void Score(std::span<const float> logits);
  void DropGroups();
  void Weigh(std::span<const float> logits, std::span<const int32_t> experts, std::span<float> weights) const;

  RoutingSpec spec_;
  std::vector<float> scores_;     // [E]
  std::vector<float> selection_;  // [E]
  std::vector<int32_t> order_;    // [max(E, groups)]
  std::vector<float> group_scores_;
};

}  // namespace barn
