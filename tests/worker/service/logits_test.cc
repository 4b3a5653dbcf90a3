#include "worker/service/logits.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

namespace barn {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

TEST(Logits, EditsDivideMultiplyAndAdd) {
  std::vector<float> logits = {2, -2, 1, 0};
  const std::vector<LogitChange> changes = {{.id = 0, .add = 1, .repetition = 2},
                                            {.id = 1, .add = 0, .repetition = 2},
                                            {.id = 2, .add = -kInf, .repetition = 1}};
  ASSERT_TRUE(CheckChanges(changes, 4).ok());
  ApplyChanges(changes, logits);
  EXPECT_EQ(logits, (std::vector<float>{2, -4, -kInf, 0}));
}

TEST(Logits, BadEditsAreRefusedByNumber) {
  for (const LogitChange& bad :
       {LogitChange{.id = -1}, LogitChange{.id = 4}, LogitChange{.id = 0, .add = NAN},
        LogitChange{.id = 0, .add = 0, .repetition = 0}, LogitChange{.id = 0, .add = 0, .repetition = -1},
        LogitChange{.id = 0, .add = 0, .repetition = kInf}, LogitChange{.id = 0, .add = 0, .repetition = NAN}}) {
    EXPECT_TRUE(absl::IsInvalidArgument(CheckChanges({&bad, 1}, 4))) << bad.id;
  }
}

TEST(Logits, TopIsSortedAndTiesGoToTheLowerId) {
  const std::vector<float> logits = {1, 5, 5, NAN, 5, -kInf, 7};
  const std::vector<RankedLogit> top = TopLogits(logits, 4);
  ASSERT_EQ(top.size(), 4u);
  EXPECT_EQ(top[0].id, 6);
  EXPECT_EQ(top[1].id, 1);
  EXPECT_EQ(top[2].id, 2);
  EXPECT_EQ(top[3].id, 4);
  EXPECT_EQ(TopLogits(logits, 100).size(), 7u);
  EXPECT_TRUE(TopLogits(logits, 0).empty());
  EXPECT_TRUE(TopLogits(logits, -3).empty());
}

TEST(Logits, TopEqualsAFullSort) {
  std::mt19937 random(7);
  for (const int size : {1, 2, 17, 320, 5000}) {
    std::vector<float> logits(size);
    // Few distinct values, so that ties are common.
    std::generate(logits.begin(), logits.end(), [&] { return static_cast<float>(random() % 50); });
    std::vector<int32_t> ids(size);
    std::iota(ids.begin(), ids.end(), 0);
    std::stable_sort(ids.begin(), ids.end(), [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
    for (const int count : {1, 5, 40, size}) {
      const std::vector<RankedLogit> top = TopLogits(logits, count);
      ASSERT_EQ(static_cast<int>(top.size()), std::min(count, size));
      for (size_t i = 0; i < top.size(); ++i) {
        ASSERT_EQ(top[i].id, ids[i]) << size << " " << count;
      }
    }
  }
}

TEST(Logits, LogSumExpIsExactAndStable) {
  EXPECT_DOUBLE_EQ(LogSumExp(std::vector<float>(1000, 0.0f)), std::log(1000.0));
  EXPECT_DOUBLE_EQ(LogSumExp(std::vector<float>{30000, 30000}), 30000 + std::log(2.0));
  EXPECT_DOUBLE_EQ(LogSumExp(std::vector<float>{-kInf, 3}), 3);
  EXPECT_EQ(LogSumExp(std::vector<float>{-kInf, NAN}), -kInf);
}

TEST(Logits, BestAllowsTies) {
  const std::vector<float> logits = {3, 3, 2};
  EXPECT_TRUE(IsBest(logits, 0));
  EXPECT_TRUE(IsBest(logits, 1));
  EXPECT_FALSE(IsBest(logits, 2));
}

}  // namespace
}  // namespace barn
