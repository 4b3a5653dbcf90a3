#include "proto/base/clock.h"

#include <gtest/gtest.h>

namespace barn {
namespace {

TEST(SystemClock, TellsTheTimeOfDayAndGoesOn) {
  const SystemClock clock;
  const absl::Time first = clock.Now();
  EXPECT_LT(absl::AbsDuration(first - absl::Now()), absl::Seconds(1));
  absl::SleepFor(absl::Milliseconds(20));
  EXPECT_GE(clock.Now() - first, absl::Milliseconds(20));
}

TEST(ManualClock, StandsStillUntilItIsMoved) {
  ManualClock clock;
  const absl::Time first = clock.Now();
  EXPECT_EQ(clock.Now(), first);
  clock.Advance(absl::Minutes(3));
  EXPECT_EQ(clock.Now() - first, absl::Minutes(3));
}

}  // namespace
}  // namespace barn
