#include "worker/exchange/frame_router.h"

#include <gtest/gtest.h>

#include "absl/time/clock.h"

namespace barn {
namespace {

constexpr HopEpoch kEpoch{.epoch = 3, .rows_max = 4, .width = 2};

TEST(FrameRouter, FindsAnEpochByItsToken) {
  FrameRouter router;
  EXPECT_FALSE(router.Knows(""));
  const auto queue = *router.Begin(kEpoch, "secret");
  EXPECT_TRUE(router.Knows("secret"));
  EXPECT_FALSE(router.Knows("secrets"));
  EXPECT_EQ(router.Find(3, "secret"), queue);
  EXPECT_EQ(router.Find(3, "other"), nullptr);
  EXPECT_EQ(router.Find(4, "secret"), nullptr);
  router.End(3);
  EXPECT_EQ(router.Find(3, "secret"), nullptr);
  EXPECT_FALSE(router.Knows("secret"));
}

TEST(FrameRouter, ANewQueueOfAnEpochEndsTheOld) {
  FrameRouter router;
  const auto old = *router.Begin(kEpoch, "secret");
  const auto queue = *router.Begin(kEpoch, "secret");
  EXPECT_TRUE(absl::IsAborted(old->Receive(3, 1, absl::Now() + absl::Seconds(10)).status()));
  EXPECT_EQ(router.Find(3, "secret"), queue);
}

TEST(FrameRouter, PlansBeyondTheLargestFrameAreRefused) {
  FrameRouter router;
  EXPECT_TRUE(
      absl::IsInvalidArgument(router.Begin({.epoch = 1, .rows_max = 1 << 20, .width = 1 << 20}, "secret").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(router.Begin({.epoch = 1, .rows_max = 0, .width = 1}, "secret").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(router.Begin(kEpoch, "").status()));
}

}  // namespace
}  // namespace barn
