#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <utility>

#include "absl/time/time.h"
#include "worker/memory/fetched_weights.h"

namespace barn {

// Counts bytes from several threads and reports them now and then. Thread-safe.
class FetchMeter {
 public:
  FetchMeter(int64_t bytes_total, absl::Duration interval, std::function<void(const FetchProgress&)> report)
      : bytes_total_(bytes_total), interval_(interval), report_(std::move(report)) {}

  // Reports when the interval is over, or when all bytes are done.
  void Add(int64_t bytes, absl::Time now);

 private:
  const int64_t bytes_total_;
  const absl::Duration interval_;
  const std::function<void(const FetchProgress&)> report_;
  std::mutex mutex_;
  int64_t bytes_done_ = 0;  // Guarded by mutex_, as all below.
  absl::Time reported_ = absl::InfinitePast();
  std::deque<std::pair<absl::Time, int64_t>> history_;  // When so many bytes were done; one second and one entry long.
};

}  // namespace barn
