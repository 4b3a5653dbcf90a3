#include "coordinator/cli/restart_pause.h"

#include <algorithm>

namespace barn {
namespace {

constexpr absl::Duration kHealthy = absl::Minutes(1);
constexpr absl::Duration kPauseMin = absl::Seconds(1);
constexpr absl::Duration kPauseMax = absl::Seconds(30);

}  // namespace

void RestartPause::Started(absl::Time now) {
  pause_ = now - started_ < kHealthy ? std::clamp(2 * pause_, kPauseMin, kPauseMax) : absl::ZeroDuration();
  started_ = now;
}

}  // namespace barn
