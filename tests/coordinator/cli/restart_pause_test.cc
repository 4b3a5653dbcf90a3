#include "coordinator/cli/restart_pause.h"

#include <gtest/gtest.h>

namespace barn {
namespace {

TEST(RestartPause, GrowsWhileTheProcessKeepsEnding) {
  RestartPause pause;
  absl::Time now = absl::UnixEpoch();
  for (const int seconds : {0, 1, 2, 4, 8, 16, 30, 30}) {
    pause.Started(now);
    now += absl::Seconds(seconds);
    EXPECT_TRUE(pause.Over(now)) << seconds;
    EXPECT_FALSE(pause.Over(now - absl::Milliseconds(1))) << seconds;
  }
}

TEST(RestartPause, IsForgottenAfterAMinuteOfHealth) {
  RestartPause pause;
  const absl::Time start = absl::UnixEpoch();
  pause.Started(start);
  pause.Started(start + absl::Seconds(1));
  EXPECT_FALSE(pause.Over(start + absl::Seconds(1)));
  pause.Started(start + absl::Minutes(2));
  EXPECT_TRUE(pause.Over(start + absl::Minutes(2)));
}

}  // namespace
}  // namespace barn
