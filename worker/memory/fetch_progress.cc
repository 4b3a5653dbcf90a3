#include "worker/memory/fetch_progress.h"

namespace barn {

void FetchMeter::Add(int64_t bytes, absl::Time now) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (history_.empty()) {
    history_.emplace_back(now, bytes_done_);
  }
  bytes_done_ += bytes;
  if (!report_ || (now - reported_ < interval_ && bytes_done_ < bytes_total_)) {
    return;
  }
  while (history_.size() > 1 && now - history_[1].first >= absl::Seconds(1)) {
    history_.pop_front();
  }
  const double seconds = absl::ToDoubleSeconds(now - history_.front().first);
  const double rate = seconds > 0 ? static_cast<double>(bytes_done_ - history_.front().second) / seconds : 0;
  history_.emplace_back(now, bytes_done_);
  reported_ = now;
  report_({.bytes_done = bytes_done_, .bytes_total = bytes_total_, .bytes_per_second = rate});
}

}  // namespace barn
