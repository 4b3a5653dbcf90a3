#include "coordinator/http/http_metrics.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace barn {
namespace {

std::string Quoted(absl::string_view label) {
  return absl::StrCat("\"", absl::StrReplaceAll(label, {{"\\", "\\\\"}, {"\"", "\\\""}, {"\n", "\\n"}}), "\"");
}

// Writes families in the text format, one call for each.
class Writer {
 public:
  void Family(absl::string_view name, absl::string_view type, absl::string_view help) {
    absl::StrAppend(&text_, "# HELP ", name, " ", help, "\n# TYPE ", name, " ", type, "\n");
  }
  void Sample(absl::string_view name, absl::string_view labels, int64_t value) {
    absl::StrAppend(&text_, name);
    if (!labels.empty()) absl::StrAppend(&text_, "{", labels, "}");
    absl::StrAppend(&text_, " ", value, "\n");
  }
  void Sample(absl::string_view name, absl::string_view labels, double value) {
    absl::StrAppend(&text_, name, "{", labels, "} ", absl::StrFormat("%.6f", value), "\n");
  }
  void Gauge(absl::string_view name, absl::string_view help, int64_t value) {
    Family(name, "gauge", help);
    Sample(name, "", value);
  }
  void Counter(absl::string_view name, absl::string_view help, int64_t value) {
    Family(name, "counter", help);
    Sample(name, "", value);
  }
  std::string Take() { return std::move(text_); }

 private:
  std::string text_;
};

void WriteEngine(const EngineState& engine, Writer& out) {
  out.Gauge("barn_ready", "1 when a token can be generated now.", engine.ready ? 1 : 0);
  out.Gauge("barn_context_tokens_max", "Longest prompt plus answer of one request.", engine.context_tokens_max);
  out.Gauge("barn_kv_blocks_total", "Blocks of the KV cache.", engine.kv_blocks_total);
  out.Gauge("barn_kv_blocks_free", "Blocks of the KV cache that no sequence holds.", engine.kv_blocks_free);
  out.Gauge("barn_kv_blocks_cached", "Of the free blocks: hold a prefix that can be found.", engine.kv_blocks_cached);
  out.Counter("barn_prefix_cache_queries_total", "Prompt tokens looked for in the prefix cache.",
              engine.prefix_cache_queries_total);
  out.Counter("barn_prefix_cache_hits_total", "Prompt tokens found there, and not computed.",
              engine.prefix_cache_hits_total);
  out.Counter("barn_preemptions_total", "Sequences that gave up their KV blocks, to be computed again.",
              engine.preemptions_total);
  out.Counter("barn_requests_recovered_total", "Sequences that went on after the loss of a worker.",
              engine.requests_recovered_total);
  out.Gauge("barn_requests_running", "Sequences that take part in steps.", engine.running);
  out.Gauge("barn_requests_waiting", "Sequences that wait for room.", engine.waiting);
  out.Counter("barn_requests_total", "Sequences accepted.", engine.requests_total);
  out.Counter("barn_requests_failed_total", "Sequences that ended with an error.", engine.requests_failed_total);
  out.Counter("barn_prompt_tokens_total", "Prompt tokens computed.", engine.prompt_tokens_total);
  out.Counter("barn_generated_tokens_total", "Tokens generated.", engine.generated_tokens_total);
  out.Counter("barn_steps_total", "Steps of the cluster.", engine.steps_total);
  out.Counter("barn_expert_bytes_read_total", "Bytes of expert weights read.", engine.expert_bytes_read_total);
}

// One family of samples, one sample for each worker.
template <class Value>
void WriteWorkers(const EngineState& engine, absl::string_view name, absl::string_view type, absl::string_view help,
                  Value value, Writer& out) {
  if (engine.workers.empty()) return;
  out.Family(name, type, help);
  for (const WorkerState& worker : engine.workers) {
    out.Sample(name, absl::StrCat("worker=\"", worker.id, "\",name=", Quoted(worker.name)), value(worker));
  }
}

void WriteWorkers(const EngineState& engine, Writer& out) {
  out.Gauge("barn_workers", "Workers that have joined.", static_cast<int64_t>(engine.workers.size()));
  WriteWorkers(
      engine, "barn_worker_loaded", "gauge", "1 when the worker holds its slice.",
      [](const WorkerState& w) { return int64_t{w.loaded}; }, out);
  WriteWorkers(
      engine, "barn_worker_load_bytes_done", "gauge", "Bytes of the slice that are loaded.",
      [](const WorkerState& w) { return w.load_bytes_done; }, out);
  WriteWorkers(
      engine, "barn_worker_load_bytes", "gauge", "Bytes of the slice.",
      [](const WorkerState& w) { return w.load_bytes_total; }, out);
  WriteWorkers(
      engine, "barn_worker_busy_seconds_total", "counter", "Time in kernels since the plan began.",
      [](const WorkerState& w) { return static_cast<double>(w.busy_us) * 1e-6; }, out);
  WriteWorkers(
      engine, "barn_worker_wait_seconds_total", "counter", "Time waiting for the stage before.",
      [](const WorkerState& w) { return static_cast<double>(w.wait_us) * 1e-6; }, out);
  // Idle is the rest; shares of any stretch of time follow from rates of these.
  WriteWorkers(
      engine, "barn_worker_ready_seconds_total", "counter", "Time since the plan became ready.",
      [](const WorkerState& w) { return w.since_ready.seconds; }, out);
}

}  // namespace

void HttpMetrics::CountRequest(absl::string_view route, int status) {
  absl::MutexLock lock(&mutex_);
  ++requests_[{std::string(route), status}];
}

std::map<std::pair<std::string, int>, int64_t> HttpMetrics::requests() const {
  absl::MutexLock lock(&mutex_);
  return requests_;
}

std::string MetricsText(const HttpMetrics& http, const EngineState& engine, absl::string_view model) {
  Writer out;
  out.Family("barn_model_info", "gauge", "The served model.");
  out.Sample("barn_model_info", absl::StrCat("model=", Quoted(model)), int64_t{1});
  WriteEngine(engine, out);
  WriteWorkers(engine, out);
  out.Family("barn_http_requests_total", "counter", "HTTP requests answered, by route and status.");
  for (const auto& [key, count] : http.requests()) {
    out.Sample("barn_http_requests_total", absl::StrCat("route=", Quoted(key.first), ",code=\"", key.second, "\""),
               count);
  }
  out.Gauge("barn_http_connections", "Open connections.", http.connections);
  out.Counter("barn_http_connections_refused_total", "Connections over the limit.", http.connections_refused);
  out.Gauge("barn_http_streams", "Answers being streamed.", http.streams);
  out.Gauge("barn_http_body_bytes", "Request bodies held in memory.", http.body_bytes);
  out.Counter("barn_http_clients_gone_total", "Clients that left before their answer was complete.", http.clients_gone);
  return out.Take();
}

}  // namespace barn
