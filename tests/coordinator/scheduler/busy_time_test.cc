#include "coordinator/scheduler/busy_time.h"

#include <gtest/gtest.h>

namespace barn {
namespace {

absl::Time At(double seconds) { return absl::UnixEpoch() + absl::Seconds(seconds); }

TEST(BusyTime, NothingBeforeItBegins) {
  BusyTime time;
  time.Sample(At(5));
  for (const BusyShare& share : {time.SinceBegin(At(9)), time.Recent(At(9))}) {
    EXPECT_EQ(share.seconds, 0);
    EXPECT_EQ(share.busy, 0);
    EXPECT_EQ(share.idle(), 0);
  }
}

TEST(BusyTime, SharesOfAllAndOfTheLastTenSeconds) {
  BusyTime time;
  time.Begin(At(100));
  // A minute half busy, then ten seconds in which it mostly waits.
  for (int second = 1; second <= 60; ++second) {
    time.Add(500'000, 0);
    time.Sample(At(100 + second));
  }
  for (int second = 61; second <= 70; ++second) {
    time.Add(100'000, 700'000);
    time.Sample(At(100 + second));
  }
  const BusyShare all = time.SinceBegin(At(170)), recent = time.Recent(At(170));
  EXPECT_DOUBLE_EQ(all.seconds, 70);
  EXPECT_DOUBLE_EQ(all.busy, 31.0 / 70);
  EXPECT_DOUBLE_EQ(all.wait, 7.0 / 70);
  EXPECT_DOUBLE_EQ(recent.seconds, 10);
  EXPECT_NEAR(recent.busy, 0.1, 1e-9);
  EXPECT_NEAR(recent.wait, 0.7, 1e-9);
  EXPECT_NEAR(recent.idle(), 0.2, 1e-9);
  EXPECT_EQ(time.busy_us(), 31'000'000);
  EXPECT_EQ(time.wait_us(), 7'000'000);
}

TEST(BusyTime, AStepThatEndedJustNowCannotMakeMoreThanAll) {
  BusyTime time;
  time.Begin(At(0));
  time.Add(5'000'000, 0);  // Begun before.
  EXPECT_EQ(time.SinceBegin(At(1)).busy, 1);
  EXPECT_EQ(time.SinceBegin(At(1)).idle(), 0);
}

TEST(BusyTime, ANewPlanStartsAtNothing) {
  BusyTime time;
  time.Begin(At(0));
  time.Add(500'000, 300'000);
  time.Begin(At(10));
  EXPECT_EQ(time.busy_us(), 0);
  EXPECT_EQ(time.Recent(At(20)).busy, 0);
  EXPECT_EQ(time.SinceBegin(At(20)).idle(), 1);
}

}  // namespace
}  // namespace barn
