#include "coordinator/scheduler/busy_time.h"

namespace barn {
namespace {

constexpr absl::Duration kRecent = absl::Seconds(10);
constexpr absl::Duration kSampleInterval = absl::Milliseconds(900);  // Ticks may come a little early.

}  // namespace

void BusyTime::Begin(absl::Time now) {
  total_ = {};
  begin_ = {.at = now};
  samples_ = {begin_};
}

void BusyTime::Add(int64_t busy_us, int64_t wait_us) {
  total_.busy_us += busy_us;
  total_.wait_us += wait_us;
}

void BusyTime::Sample(absl::Time now) {
  if (samples_.empty() || now - samples_.back().at < kSampleInterval) return;
  samples_.push_back({.at = now, .busy_us = total_.busy_us, .wait_us = total_.wait_us});
  while (samples_.size() > 1 && now - samples_[1].at >= kRecent) samples_.pop_front();
}

BusyShare BusyTime::Recent(absl::Time now) const {
  return samples_.empty() ? BusyShare{} : Since(samples_.front(), now);
}

BusyShare BusyTime::Since(const Reading& then, absl::Time now) const {
  const double seconds = absl::ToDoubleSeconds(now - then.at);
  if (!(seconds > 0)) return {};
  const auto share = [&](int64_t us) { return std::clamp(static_cast<double>(us) * 1e-6 / seconds, 0.0, 1.0); };
  return {
      .seconds = seconds, .busy = share(total_.busy_us - then.busy_us), .wait = share(total_.wait_us - then.wait_us)};
}

}  // namespace barn
