#include "worker/exchange/frame_router.h"

#include <utility>

#include "absl/strings/str_format.h"
#include "proto/base/trust.h"

namespace barn {

absl::StatusOr<std::shared_ptr<FrameQueue>> FrameRouter::Begin(const HopEpoch& epoch, const std::string& token) {
  const int64_t floats_max = kFrameBytesMax / static_cast<int64_t>(sizeof(float));
  if (epoch.rows_max < 1 || epoch.width < 1 || epoch.rows_max > floats_max / epoch.width) {
    return absl::InvalidArgumentError(absl::StrFormat("a step of %d rows x %d exceeds a frame of %d bytes",
                                                      epoch.rows_max, epoch.width, kFrameBytesMax));
  }
  if (token.empty()) {
    return absl::InvalidArgumentError(absl::StrFormat("epoch %d has no exchange token", epoch.epoch));
  }
  End(epoch.epoch);
  auto queue = std::make_shared<FrameQueue>();
  queue->BeginEpoch(epoch);
  absl::MutexLock lock(&mutex_);
  entries_[epoch.epoch] = {.token = token, .queue = queue};
  return queue;
}

void FrameRouter::End(int64_t epoch) {
  std::shared_ptr<FrameQueue> ended;
  {
    absl::MutexLock lock(&mutex_);
    const auto found = entries_.find(epoch);
    if (found == entries_.end()) {
      return;
    }
    ended = std::move(found->second.queue);
    entries_.erase(found);
  }
  ended->Close();  // Without the lock: it wakes transports.
}

void FrameRouter::EndAll() {
  std::map<int64_t, Entry> ended;
  {
    absl::MutexLock lock(&mutex_);
    ended.swap(entries_);
  }
  for (const auto& [epoch, entry] : ended) {
    entry.queue->Close();
  }
}

bool FrameRouter::Knows(std::string_view token) const {
  absl::MutexLock lock(&mutex_);
  bool known = false;
  for (const auto& [epoch, entry] : entries_) {
    known |= EqualInConstantTime(token, entry.token);
  }
  return known;
}

std::shared_ptr<FrameQueue> FrameRouter::Find(int64_t epoch, std::string_view token) const {
  absl::MutexLock lock(&mutex_);
  const auto found = entries_.find(epoch);
  const bool known = found != entries_.end() && EqualInConstantTime(token, found->second.token);
  return known ? found->second.queue : nullptr;
}

}  // namespace barn
