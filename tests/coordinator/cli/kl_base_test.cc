#include "coordinator/cli/kl_base.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace barn {
namespace {

PromptScore Position(int32_t id, const std::vector<double>& probabilities) {
  PromptScore score;
  score.id = id;
  for (size_t i = 0; i < probabilities.size(); ++i) {
    score.top.push_back({static_cast<int32_t>(i), static_cast<float>(std::log(probabilities[i]))});
  }
  std::sort(score.top.begin(), score.top.end(), [](auto& a, auto& b) { return a.logprob > b.logprob; });
  return score;
}

std::string Path() { return absl::StrCat(testing::TempDir(), "/kl_base_test.", getpid()); }

TEST(KlBase, MatchesTheFormula) {
  auto save = KlBase::Open(Path(), /*save=*/true, 3);
  ASSERT_TRUE(save.ok());
  ASSERT_TRUE(save->Add(Position(2, {0.5, 0.25, 0.25})).ok());
  ASSERT_TRUE(save->Add(Position(0, {0.1, 0.8, 0.1})).ok());
  ASSERT_TRUE(save->Finish().ok());

  auto same = KlBase::Open(Path(), /*save=*/false, 3);
  ASSERT_TRUE(same.ok());
  ASSERT_TRUE(same->Add(Position(2, {0.5, 0.25, 0.25})).ok());
  EXPECT_NEAR(same->kl_mean(), 0, 1e-9);

  auto other = KlBase::Open(Path(), /*save=*/false, 3);
  ASSERT_TRUE(other.ok());
  ASSERT_TRUE(other->Add(Position(2, {0.25, 0.5, 0.25})).ok());
  ASSERT_TRUE(other->Add(Position(0, {0.1, 0.8, 0.1})).ok());
  const double first = 0.5 * std::log(0.5 / 0.25) + 0.25 * std::log(0.25 / 0.5);
  EXPECT_NEAR(other->kl_mean(), first / 2, 1e-6);
  EXPECT_EQ(other->same_top_share(), 0.5);
}

TEST(KlBase, RefusesWhatDoesNotFit) {
  auto save = KlBase::Open(Path(), /*save=*/true, 3);
  ASSERT_TRUE(save.ok());
  ASSERT_TRUE(save->Add(Position(2, {0.5, 0.25, 0.25})).ok());
  ASSERT_TRUE(save->Finish().ok());
  EXPECT_THAT(std::string(KlBase::Open(Path(), false, 4).status().message()), testing::HasSubstr("vocabulary of 3"));
  auto base = KlBase::Open(Path(), false, 3);
  ASSERT_TRUE(base.ok());
  EXPECT_EQ(base->Add(Position(1, {0.5, 0.25, 0.25})).code(), absl::StatusCode::kDataLoss);  // Another text.
  EXPECT_EQ(KlBase::Open("/nonexistent/base", false, 3).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace barn
