#include "coordinator/scheduler/step_times.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace barn {
namespace {

// A machine: 5 ms a step, 0.5 ms a decoding row, 2 ms a prompt row.
absl::Duration Took(int64_t decoding, int64_t prompt) {
  return absl::Microseconds(5000 + 500 * decoding + 2000 * prompt);
}

TEST(StepTimes, KnowsNothingAtFirst) {
  const StepTimes cost;
  EXPECT_EQ(cost.Decoding(8), absl::ZeroDuration());
  EXPECT_EQ(cost.PromptRows(absl::Milliseconds(1)), INT64_MAX);
  EXPECT_FALSE(cost.WantsPlainStep());
}

TEST(StepTimes, FitsPlainStepsAndGivesPromptsTheRest) {
  StepTimes cost;
  for (int i = 0; i < 20; ++i) cost.Add(1 + i % 8, 0, Took(1 + i % 8, 0));
  for (int64_t rows : {1, 4, 32}) {
    EXPECT_NEAR(absl::ToDoubleMilliseconds(cost.Decoding(rows)), 5 + 0.5 * static_cast<double>(rows), 0.01) << rows;
  }
  cost.Add(16, 20, Took(16, 20));
  EXPECT_NEAR(static_cast<double>(cost.PromptRows(absl::Milliseconds(100))), 50, 1);
  EXPECT_EQ(cost.PromptRows(absl::Milliseconds(1)), StepTimes::kRowsMin);
}

TEST(StepTimes, EqualStepsTellTheirOwnCost) {
  StepTimes cost;
  for (int i = 0; i < 20; ++i) cost.Add(8, 0, Took(8, 0));
  EXPECT_NEAR(absl::ToDoubleMilliseconds(cost.Decoding(8)), 9, 0.01);
}

// Chunks cut to the budget come to it from both sides, whatever the first guess was.
TEST(StepTimes, ChunksComeToTheBudget) {
  for (const int64_t first_us_a_row : {100, 2000, 100000}) {
    StepTimes cost;
    cost.Add(4, 0, Took(4, 0));
    cost.Add(0, 100, absl::Microseconds(first_us_a_row * 100));
    int64_t rows = 0;
    for (int i = 0; i < 30; ++i) {
      rows = std::min<int64_t>(512, cost.PromptRows(absl::Milliseconds(60)));
      cost.Add(4, rows, Took(4, rows));
    }
    EXPECT_NEAR(static_cast<double>(rows), 30, 2) << first_us_a_row;
  }
}

TEST(StepTimes, OneStepThatWasHeldUpSaysLittle) {
  StepTimes cost;
  for (int i = 0; i < 20; ++i) cost.Add(8, 0, Took(8, 0));
  for (int i = 0; i < 20; ++i) cost.Add(8, 20, Took(8, 20));
  cost.Add(8, 20, absl::Seconds(60));
  EXPECT_GE(cost.PromptRows(absl::Milliseconds(40)), 10);
  cost.Add(8, 0, absl::Seconds(60));
  EXPECT_LT(cost.Decoding(8), absl::Milliseconds(12));
}

TEST(StepTimes, WantsAPlainStepAfterManyMixedOnes) {
  StepTimes cost;
  for (int i = 0; i < StepTimes::kMixedStepsMax; ++i) {
    EXPECT_FALSE(cost.WantsPlainStep());
    cost.Add(2, 10, Took(2, 10));
    cost.Add(0, 10, Took(0, 10));  // Nobody decodes: nobody is slowed down.
  }
  EXPECT_TRUE(cost.WantsPlainStep());
  cost.Add(2, 0, Took(2, 0));
  EXPECT_FALSE(cost.WantsPlainStep());
}

}  // namespace
}  // namespace barn
