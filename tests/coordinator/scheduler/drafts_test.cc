#include "coordinator/scheduler/drafts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace barn {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr double kCheap = 0.05;

TEST(NgramDrafter, GoesOnAsBefore) {
  NgramDrafter drafter;
  const std::vector<int32_t> tokens = {9, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3};
  EXPECT_THAT(drafter.Draft(tokens, 3, kCheap), ElementsAre(4, 5, 6));
  EXPECT_THAT(drafter.Draft(tokens, 1, kCheap), ElementsAre(4));
  EXPECT_THAT(drafter.Draft(tokens, 0, kCheap), IsEmpty());
  EXPECT_THAT(drafter.Draft(tokens, 3, 0), ElementsAre(4, 5, 6));
}

TEST(NgramDrafter, TheNewestPlaceCounts) {
  NgramDrafter drafter;
  const std::vector<int32_t> tokens = {1, 2, 3, 4, 1, 2, 3, 5, 1, 2, 3};
  EXPECT_THAT(drafter.Draft(tokens, 2, kCheap), ElementsAre(5, 1));
}

TEST(NgramDrafter, ALoopGoesOn) {
  NgramDrafter drafter;
  const std::vector<int32_t> tokens = {1, 2, 1, 2, 1};
  EXPECT_THAT(drafter.Draft(tokens, 6, 0), ElementsAre(2, 1, 2, 1, 2, 1));
  NgramDrafter same;
  EXPECT_THAT(same.Draft(std::vector<int32_t>{7, 7, 7, 7}, 3, 0), ElementsAre(7, 7, 7));
}

TEST(NgramDrafter, NothingLikeItWasThere) {
  NgramDrafter drafter;
  EXPECT_THAT(drafter.Draft(std::vector<int32_t>{}, 4, kCheap), IsEmpty());
  EXPECT_THAT(drafter.Draft(std::vector<int32_t>{1, 2, 3}, 4, kCheap), IsEmpty());
  EXPECT_THAT(drafter.Draft(std::vector<int32_t>{1, 2, 3, 4, 5, 6}, 4, kCheap), IsEmpty());
}

// Grown token by token it finds what a fresh look finds.
TEST(NgramDrafter, GrowsWithItsSequence) {
  std::mt19937 random(4);
  NgramDrafter grown;
  std::vector<int32_t> tokens;
  int found = 0;
  for (int i = 0; i < 2000; ++i) {
    tokens.push_back(static_cast<int32_t>(random() % 6));
    NgramDrafter fresh;
    const auto draft = grown.Draft(tokens, 8, 0);
    ASSERT_EQ(draft, fresh.Draft(tokens, 8, 0)) << i;
    found += draft.empty() ? 0 : 1;
  }
  EXPECT_GT(found, 1000);
}

TEST(NgramDrafter, LearnsHowFarGuessesCarry) {
  const std::vector<int32_t> tokens = {1, 2, 1, 2, 1, 2, 1};
  NgramDrafter good;
  for (int i = 0; i < 20; ++i) good.Learn(8, 8);
  EXPECT_GT(good.chance(), 0.95);
  EXPECT_THAT(good.Draft(tokens, 16, 0.2), SizeIs(16));
  NgramDrafter bad;
  for (int i = 0; i < 40; ++i) bad.Learn(4, 0);
  EXPECT_LT(bad.chance(), 0.05);
  EXPECT_THAT(bad.Draft(tokens, 16, 0.2), IsEmpty()) << "it does not pay";
  // After a while it tries again, once, and stops again.
  int tries = 0;
  for (int i = 0; i < 300; ++i) {
    if (bad.Draft(tokens, 16, 0.2).empty()) continue;
    ++tries;
    bad.Learn(1, 0);
  }
  EXPECT_GE(tries, 2);
  EXPECT_LE(tries, 40);
}

TEST(NgramDrafter, SaysWhatGuessesBring) {
  NgramDrafter drafter;
  const double p = drafter.chance();
  EXPECT_EQ(drafter.Gain(0, 0.2), 0);
  EXPECT_NEAR(drafter.Gain(2, 0.2), p + p * p - 0.4, 1e-12);
  EXPECT_LT(drafter.Gain(8, 0.5), drafter.Gain(2, 0.5)) << "the last ones cost more than they bring";
}

TEST(StepCost, FindsTheLine) {
  StepCost cost;
  EXPECT_LT(cost.RowShare(1), 0.5) << "it tries before it knows";
  std::mt19937 random(6);
  for (int i = 0; i < 300; ++i) {
    const int64_t rows = 1 + static_cast<int64_t>(random() % 9);
    cost.Observe(rows, 7000 + 700 * rows + static_cast<int64_t>(random() % 100));
  }
  EXPECT_NEAR(cost.RowShare(1), 1.1 * 700.0 / 7700, 0.02);
  EXPECT_NEAR(cost.RowShare(10), 1.1 * 7000.0 / 14000, 0.02);
}

// Where time goes with the rows alone, a row more is worth a token and no guess pays.
TEST(StepCost, WithoutAFixedPartNothingPays) {
  StepCost cost;
  for (int i = 0; i < 100; ++i) cost.Observe(1 + i % 5, 1000 * (1 + i % 5));
  EXPECT_GE(cost.RowShare(1), 1);
  NgramDrafter drafter;
  EXPECT_THAT(drafter.Draft(std::vector<int32_t>{1, 2, 1, 2, 1, 2}, 8, cost.RowShare(1)), IsEmpty());
}

TEST(StepCost, FollowsTheMachine) {
  StepCost cost;
  for (int i = 0; i < 300; ++i) cost.Observe(1 + i % 5, 1000 * (1 + i % 5));
  for (int i = 0; i < 300; ++i) cost.Observe(1 + i % 5, 20000 + 100 * (1 + i % 5));
  EXPECT_LT(cost.RowShare(1), 0.02);
}

}  // namespace
}  // namespace barn
