#include "worker/service/logits.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

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

}  // namespace
}  // namespace barn
