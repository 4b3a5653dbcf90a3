#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "coordinator/accounts/access_gate.h"
#include "coordinator/http/histogram.h"
#include "coordinator/scheduler/engine.h"

namespace barn {

// Counters of the HTTP side. Thread-safe.
class HttpMetrics {
 public:
  HttpMetrics();

  // `route` is a path of ours or "other", so that strangers cannot grow the table.
  void CountRequest(absl::string_view route, int status) ABSL_LOCKS_EXCLUDED(mutex_);

  // (route, status) -> count.
  std::map<std::pair<std::string, int>, int64_t> requests() const ABSL_LOCKS_EXCLUDED(mutex_);

  // Answers that ended, by reason.
  void CountFinish(FinishReason reason) { ++finishes_[static_cast<size_t>(reason)]; }
  int64_t finishes(FinishReason reason) const { return finishes_[static_cast<size_t>(reason)]; }

  std::atomic<int64_t> connections{0};          // Open now.
  std::atomic<int64_t> connections_refused{0};  // Over the limit, since start.
  std::atomic<int64_t> streams{0};              // Answers being streamed now.
  std::atomic<int64_t> body_bytes{0};           // Request bodies held in memory now.
  std::atomic<int64_t> clients_gone{0};         // Left before their answer was complete, since start.

  Histogram first_token_seconds;  // From the request to the first token of each choice.
  Histogram token_seconds;        // Between tokens of a choice.
  Histogram request_seconds;      // From the request to the end of its answer.
  Histogram prompt_tokens;        // Of a request.
  Histogram generated_tokens;

 private:
  std::array<std::atomic<int64_t>, 8> finishes_{};
  mutable absl::Mutex mutex_;
  std::map<std::pair<std::string, int>, int64_t> requests_ ABSL_GUARDED_BY(mutex_);
};

// The Prometheus text format, version 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats).
// Native names begin with barn_; the most common ones of vLLM stand beside them (docs.vllm.ai, "Production metrics"),
// for dashboards and routers that know those.
std::string MetricsText(const HttpMetrics& http, const EngineState& engine, const std::vector<KeyTotals>& keys,
                        absl::string_view model);
// The same of several models, by name: what is about one of them has a label that names it.
std::string MetricsText(const HttpMetrics& http, const std::vector<std::pair<std::string, EngineState>>& models,
                        const std::vector<KeyTotals>& keys);

}  // namespace barn
