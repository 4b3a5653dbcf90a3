#include "worker/model/routing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

namespace barn {
namespace {

using testing::ElementsAre;
using testing::FloatNear;

struct Choice {
  std::vector<int32_t> experts;
  std::vector<float> weights;
};

Choice RouteOne(const RoutingSpec& spec, const std::vector<float>& logits, const std::vector<float>& bias = {}) {
  Choice choice{std::vector<int32_t>(spec.used), std::vector<float>(spec.used)};
  Router(spec).Route(logits, bias, choice.experts, choice.weights);
  return choice;
}

TEST(Routing, SoftmaxOverAllThenTop) {
  // exp(0, ln 2, ln 4, 0) = 1, 2, 4, 1; the sum is 8.
  const std::vector<float> logits = {0, std::log(2.0f), std::log(4.0f), 0};
  const Choice plain = RouteOne({.experts = 4, .used = 2}, logits);
  EXPECT_THAT(plain.experts, ElementsAre(2, 1));
  EXPECT_THAT(plain.weights, ElementsAre(FloatNear(0.5, 1e-6), FloatNear(0.25, 1e-6)));
  const Choice renormalized = RouteOne({.experts = 4, .used = 2, .renormalize = true, .scale = 3}, logits);
  EXPECT_THAT(renormalized.weights, ElementsAre(FloatNear(2, 1e-6), FloatNear(1, 1e-6)));
}

TEST(Routing, SoftmaxOfSelectedEqualsSoftmaxRenormalized) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0, 2);
  for (int trial = 0; trial < 100; ++trial) {
    std::vector<float> logits(16);
    std::generate(logits.begin(), logits.end(), [&] { return normal(random); });
    const Choice selected = RouteOne({.experts = 16, .used = 4, .scores = ExpertScores::kSoftmaxOfSelected}, logits);
    const Choice renormalized = RouteOne({.experts = 16, .used = 4, .renormalize = true}, logits);
    EXPECT_EQ(selected.experts, renormalized.experts);
    for (int j = 0; j < 4; ++j) {
      EXPECT_NEAR(selected.weights[j], renormalized.weights[j], 1e-6);
    }
  }
}

TEST(Routing, SelectionBiasChoosesButDoesNotWeigh) {
  const Choice choice = RouteOne({.experts = 3, .used = 1, .scores = ExpertScores::kSigmoid}, {0, 2, 1}, {0.6f, 0, 0});
  EXPECT_THAT(choice.experts, ElementsAre(0));
  EXPECT_THAT(choice.weights, ElementsAre(FloatNear(0.5, 1e-6)));
}

TEST(Routing, SigmoidOfSelectedChoosesByLogitWhereSigmoidSaturates) {
  // In F32 the sigmoid of both is 1.
  const Choice choice = RouteOne({.experts = 3, .used = 1, .scores = ExpertScores::kSigmoidOfSelected}, {30, 0, 31});
  EXPECT_THAT(choice.experts, ElementsAre(2));
  EXPECT_THAT(choice.weights, ElementsAre(FloatNear(1, 1e-6)));
}

TEST(Routing, SqrtSoftplus) {
  const Choice choice = RouteOne({.experts = 2, .used = 2, .scores = ExpertScores::kSqrtSoftplus}, {0, 50});
  EXPECT_THAT(choice.experts, ElementsAre(1, 0));
  EXPECT_THAT(choice.weights,
              ElementsAre(FloatNear(std::sqrt(50.0f), 1e-4), FloatNear(std::sqrt(std::log(2.0)), 1e-6)));
}

TEST(Routing, TiesGoToTheLowestIndex) {
  const Choice choice = RouteOne({.experts = 6, .used = 3}, {1, 5, 1, 5, 1, 5});
  EXPECT_THAT(choice.experts, ElementsAre(1, 3, 5));
  EXPECT_THAT(RouteOne({.experts = 6, .used = 2}, std::vector<float>(6, 0.5f)).experts, ElementsAre(0, 1));
}

TEST(Routing, GroupsAreScoredByTheirTwoBest) {
  // Group sums of the two best sigmoids: {3, -9} loses against {1, 1} and {2, 0}, though 3 is the best expert.
  const RoutingSpec spec{.experts = 6, .used = 2, .scores = ExpertScores::kSigmoid, .groups = 3, .groups_used = 2};
  EXPECT_THAT(RouteOne(spec, {3, -9, 1, 1, 2, 0}).experts, ElementsAre(4, 2));
}

TEST(Routing, GroupsOfOneExpert) {
  const RoutingSpec spec{.experts = 3, .used = 1, .groups = 3, .groups_used = 1};
  EXPECT_THAT(RouteOne(spec, {0, 2, 1}).experts, ElementsAre(1));
}

TEST(Routing, ATinySumIsNotBlownUp) {
  const Choice choice =
      RouteOne({.experts = 2, .used = 1, .scores = ExpertScores::kSigmoid, .renormalize = true}, {-40, -50});
  EXPECT_LT(choice.weights[0], 1e-12f);
}

TEST(Routing, BrokenLogitsStillGiveDistinctExpertsInRange) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  for (const ExpertScores scores : {ExpertScores::kSoftmax, ExpertScores::kSigmoid, ExpertScores::kSqrtSoftplus,
                                    ExpertScores::kSoftmaxOfSelected, ExpertScores::kSigmoidOfSelected}) {
    for (const std::vector<float>& logits : {std::vector<float>(8, nan),
                                             {nan, 1, nan, 2, infinity, -infinity, infinity, 0},
                                             std::vector<float>(8, -infinity)}) {
      const RoutingSpec spec{
          .experts = 8, .used = 4, .scores = scores, .renormalize = true, .groups = 4, .groups_used = 2};
      Choice choice = RouteOne(spec, logits, std::vector<float>(8, infinity));
      std::sort(choice.experts.begin(), choice.experts.end());
      EXPECT_EQ(std::unique(choice.experts.begin(), choice.experts.end()), choice.experts.end());
      EXPECT_GE(choice.experts.front(), 0);
      EXPECT_LT(choice.experts.back(), 8);
    }
  }
}

}  // namespace
}  // namespace barn
