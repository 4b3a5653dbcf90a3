#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "coordinator/scheduler/engine.h"

namespace barn {

// Counters of the HTTP side. Thread-safe.
class HttpMetrics {
 public:
  // `route` is a path of ours or "other", so that strangers cannot grow the table.
  void CountRequest(absl::string_view route, int status) ABSL_LOCKS_EXCLUDED(mutex_);

  // (route, status) -> count.
  std::map<std::pair<std::string, int>, int64_t> requests() const ABSL_LOCKS_EXCLUDED(mutex_);

  std::atomic<int64_t> connections{0};          // Open now.
  std::atomic<int64_t> connections_refused{0};  // Over the limit, since start.
  std::atomic<int64_t> streams{0};              // Answers being streamed now.
  std::atomic<int64_t> body_bytes{0};           // Request bodies held in memory now.
  std::atomic<int64_t> clients_gone{0};         // Left before their answer was complete, since start.

 private:
  mutable absl::Mutex mutex_;
  std::map<std::pair<std::string, int>, int64_t> requests_ ABSL_GUARDED_BY(mutex_);
};

// The Prometheus text format, version 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats).
std::string MetricsText(const HttpMetrics& http, const EngineState& engine, absl::string_view model);

}  // namespace barn
