#include "coordinator/http/http_metrics.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace barn {
namespace {

constexpr double kFirstTokenSeconds[] = {0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120};
constexpr double kTokenSeconds[] = {0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.5, 1, 2, 5};
constexpr double kRequestSeconds[] = {0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600, 1800};
constexpr double kRequestTokens[] = {1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144};

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
    absl::StrAppend(&text_, name);
    if (!labels.empty()) absl::StrAppend(&text_, "{", labels, "}");
    absl::StrAppend(&text_, " ", absl::StrFormat("%.6f", value), "\n");
  }
  void Distribution(absl::string_view name, absl::string_view help, absl::string_view labels,
                    const HistogramPicture& picture) {
    Family(name, "histogram", help);
    Histogram(name, labels, picture);
  }
  // One for each model.
  template <class Models, class Picture>
  void Distributions(absl::string_view name, absl::string_view help, const Models& models, Picture picture) {
    Family(name, "histogram", help);
    for (const auto& model : models) Histogram(name, model.label, std::invoke(picture, model.engine));
  }
  void Histogram(absl::string_view name, absl::string_view labels, const HistogramPicture& picture) {
    const std::string comma = labels.empty() ? "" : ",";
    for (size_t i = 0; i < picture.bounds.size(); ++i) {
      Sample(absl::StrCat(name, "_bucket"), absl::StrCat(labels, comma, "le=\"", picture.bounds[i], "\""),
             picture.up_to[i]);
    }
    Sample(absl::StrCat(name, "_bucket"), absl::StrCat(labels, comma, "le=\"+Inf\""), picture.count);
    Sample(absl::StrCat(name, "_sum"), labels, picture.sum);
    Sample(absl::StrCat(name, "_count"), labels, picture.count);
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

// A model and the label that names it; "" where there is only one.
struct Labelled {
  std::string label;
  const EngineState& engine;
};
using Models = std::vector<Labelled>;

// One family of samples, one sample for each model.
template <class Value>
void WriteEach(const Models& models, absl::string_view name, absl::string_view type, absl::string_view help,
               Value value, Writer& out) {
  out.Family(name, type, help);
  for (const Labelled& model : models) out.Sample(name, model.label, int64_t{std::invoke(value, model.engine)});
}

void WriteEngines(const Models& models, Writer& out) {
  const auto gauge = [&](absl::string_view name, absl::string_view help, auto value) {
    WriteEach(models, name, "gauge", help, value, out);
  };
  const auto counter = [&](absl::string_view name, absl::string_view help, auto value) {
    WriteEach(models, name, "counter", help, value, out);
  };
  gauge("barn_ready", "1 when a token can be generated now.", &EngineState::ready);
  gauge("barn_context_tokens_max", "Longest prompt plus answer of one request.", &EngineState::context_tokens_max);
  gauge("barn_kv_blocks_total", "Blocks of the KV cache.", &EngineState::kv_blocks_total);
  gauge("barn_kv_blocks_free", "Blocks of the KV cache that no sequence holds.", &EngineState::kv_blocks_free);
  gauge("barn_kv_blocks_cached", "Of the free blocks: hold a prefix that can be found.",
        &EngineState::kv_blocks_cached);
  counter("barn_prefix_cache_queries_total", "Prompt tokens looked for in the prefix cache.",
          &EngineState::prefix_cache_queries_total);
  counter("barn_prefix_cache_hits_total", "Prompt tokens found there, and not computed.",
          &EngineState::prefix_cache_hits_total);
  counter("barn_preemptions_total", "Sequences that gave up their KV blocks, to be computed again.",
          &EngineState::preemptions_total);
  counter("barn_requests_recovered_total", "Sequences that went on after the loss of a worker.",
          &EngineState::requests_recovered_total);
  gauge("barn_requests_running", "Sequences that take part in steps.", &EngineState::running);
  gauge("barn_requests_waiting", "Sequences that wait for room.", &EngineState::waiting);
  counter("barn_requests_total", "Sequences accepted.", &EngineState::requests_total);
  counter("barn_requests_failed_total", "Sequences that ended with an error.", &EngineState::requests_failed_total);
  counter("barn_prompt_tokens_total", "Prompt tokens computed.", &EngineState::prompt_tokens_total);
  counter("barn_generated_tokens_total", "Tokens generated.", &EngineState::generated_tokens_total);
  counter("barn_steps_total", "Steps of the cluster.", &EngineState::steps_total);
  counter("barn_expert_bytes_read_total", "Bytes of expert weights read.", &EngineState::expert_bytes_read_total);
  counter("barn_draft_tokens_total", "Tokens guessed and computed.", &EngineState::draft_tokens_total);
  counter("barn_draft_accepted_tokens_total", "Guessed tokens that came true.",
          &EngineState::draft_accepted_tokens_total);
  out.Distributions("barn_step_rows", "Rows of a step.", models, &EngineState::step_rows);
  out.Distributions("barn_queue_wait_seconds", "From a request to its first step.", models,
                    &EngineState::queue_wait_seconds);
}

// One family of samples, one sample for each worker.
template <class Value>
void WriteWorkers(const Models& models, absl::string_view name, absl::string_view type, absl::string_view help,
                  Value value, Writer& out) {
  if (models.empty() || models.front().engine.workers.empty()) return;
  out.Family(name, type, help);
  for (const Labelled& model : models) {
    const std::string comma = model.label.empty() ? "" : ",";
    for (const WorkerState& worker : model.engine.workers) {
      out.Sample(name, absl::StrCat(model.label, comma, "worker=\"", worker.id, "\",name=", Quoted(worker.name)),
                 value(worker));
    }
  }
}

void WriteWorkers(const Models& models, Writer& out) {
  // The same ones for each model.
  out.Gauge("barn_workers", "Workers that have joined.",
            models.empty() ? 0 : static_cast<int64_t>(models.front().engine.workers.size()));
  WriteWorkers(
      models, "barn_worker_loaded", "gauge", "1 when the worker holds its slice.",
      [](const WorkerState& w) { return int64_t{w.loaded}; }, out);
  WriteWorkers(
      models, "barn_worker_load_bytes_done", "gauge", "Bytes of the slice that are loaded.",
      [](const WorkerState& w) { return w.load_bytes_done; }, out);
  WriteWorkers(
      models, "barn_worker_load_bytes", "gauge", "Bytes of the slice.",
      [](const WorkerState& w) { return w.load_bytes_total; }, out);
  WriteWorkers(
      models, "barn_worker_busy_seconds_total", "counter", "Time in kernels since the plan began.",
      [](const WorkerState& w) { return static_cast<double>(w.busy_us) * 1e-6; }, out);
  WriteWorkers(
      models, "barn_worker_wait_seconds_total", "counter", "Time waiting for the stage before.",
      [](const WorkerState& w) { return static_cast<double>(w.wait_us) * 1e-6; }, out);
  // Idle is the rest; shares of any stretch of time follow from rates of these.
  WriteWorkers(
      models, "barn_worker_ready_seconds_total", "counter", "Time since the plan became ready.",
      [](const WorkerState& w) { return w.since_ready.seconds; }, out);
}

constexpr std::pair<FinishReason, absl::string_view> kFinishes[] = {{FinishReason::kEnd, "stop"},
                                                                    {FinishReason::kLength, "length"},
                                                                    {FinishReason::kCancelled, "abort"},
                                                                    {FinishReason::kError, "error"}};

void WriteRequests(const HttpMetrics& http, Writer& out) {
  out.Distribution("barn_time_to_first_token_seconds", "From a request to its first token.", "",
                   http.first_token_seconds.Read());
  out.Distribution("barn_inter_token_seconds", "Between tokens of an answer.", "", http.token_seconds.Read());
  out.Distribution("barn_request_seconds", "From a request to the end of its answer.", "", http.request_seconds.Read());
  out.Distribution("barn_request_prompt_tokens", "Prompt tokens of a request.", "", http.prompt_tokens.Read());
  out.Distribution("barn_request_generated_tokens", "Generated tokens of a request.", "", http.generated_tokens.Read());
  out.Family("barn_answers_total", "counter", "Answers that ended, by reason.");
  for (const auto& [reason, name] : kFinishes) {
    out.Sample("barn_answers_total", absl::StrCat("reason=", Quoted(name)), http.finishes(reason));
  }
}

void WriteKeys(const std::vector<KeyTotals>& keys, Writer& out) {
  if (keys.empty()) return;
  out.Family("barn_key_tokens_total", "counter", "Tokens by API key, since the start.");
  for (const KeyTotals& key : keys) {
    out.Sample("barn_key_tokens_total", absl::StrCat("key=", Quoted(key.name), ",kind=\"prompt\""), key.prompt_tokens);
    out.Sample("barn_key_tokens_total", absl::StrCat("key=", Quoted(key.name), ",kind=\"generated\""),
               key.generated_tokens);
  }
  out.Family("barn_key_requests_total", "counter", "Requests that generate by API key, since the start.");
  for (const KeyTotals& key : keys) {
    out.Sample("barn_key_requests_total", absl::StrCat("key=", Quoted(key.name)), key.requests);
  }
}

// The same numbers under the names that vLLM gives them.
// `labels`: of what is not about one model.
void WriteAliases(const HttpMetrics& http, const Models& models, const std::string& labels, Writer& out) {
  const auto one = [&](absl::string_view name, absl::string_view type, absl::string_view help, auto value) {
    out.Family(name, type, help);
    for (const Labelled& model : models) out.Sample(name, model.label, std::invoke(value, model.engine));
  };
  one("vllm:num_requests_running", "gauge", "As barn_requests_running.", &EngineState::running);
  one("vllm:num_requests_waiting", "gauge", "As barn_requests_waiting.", &EngineState::waiting);
  one("vllm:kv_cache_usage_perc", "gauge", "Share of the KV blocks in use, 0 to 1.", [](const EngineState& engine) {
    return static_cast<double>(engine.kv_blocks_total - engine.kv_blocks_free) /
           static_cast<double>(std::max<int64_t>(1, engine.kv_blocks_total));
  });
  one("vllm:prompt_tokens_total", "counter", "As barn_prompt_tokens_total.", &EngineState::prompt_tokens_total);
  one("vllm:generation_tokens_total", "counter", "As barn_generated_tokens_total.",
      &EngineState::generated_tokens_total);
  one("vllm:num_preemptions_total", "counter", "As barn_preemptions_total.", &EngineState::preemptions_total);
  one("vllm:prefix_cache_queries_total", "counter", "As barn_prefix_cache_queries_total.",
      &EngineState::prefix_cache_queries_total);
  one("vllm:prefix_cache_hits_total", "counter", "As barn_prefix_cache_hits_total.",
      &EngineState::prefix_cache_hits_total);
  one("vllm:spec_decode_num_draft_tokens_total", "counter", "As barn_draft_tokens_total.",
      &EngineState::draft_tokens_total);
  one("vllm:spec_decode_num_accepted_tokens_total", "counter", "As barn_draft_accepted_tokens_total.",
      &EngineState::draft_accepted_tokens_total);
  out.Distribution("vllm:time_to_first_token_seconds", "As barn_time_to_first_token_seconds.", labels,
                   http.first_token_seconds.Read());
  out.Distributions("vllm:request_queue_time_seconds", "As barn_queue_wait_seconds.", models,
                    &EngineState::queue_wait_seconds);
  out.Distribution("vllm:inter_token_latency_seconds", "As barn_inter_token_seconds.", labels,
                   http.token_seconds.Read());
  out.Distribution("vllm:e2e_request_latency_seconds", "As barn_request_seconds.", labels, http.request_seconds.Read());
  out.Distribution("vllm:request_prompt_tokens", "As barn_request_prompt_tokens.", labels, http.prompt_tokens.Read());
  out.Distribution("vllm:request_generation_tokens", "As barn_request_generated_tokens.", labels,
                   http.generated_tokens.Read());
  out.Family("vllm:request_success_total", "counter", "As barn_answers_total.");
  for (const auto& [reason, name] : kFinishes) {
    if (reason == FinishReason::kError) continue;
    out.Sample("vllm:request_success_total",
               absl::StrCat(labels, labels.empty() ? "" : ",", "finished_reason=", Quoted(name)),
               http.finishes(reason));
  }
}

}  // namespace

HttpMetrics::HttpMetrics()
    : first_token_seconds(kFirstTokenSeconds),
      token_seconds(kTokenSeconds),
      request_seconds(kRequestSeconds),
      prompt_tokens(kRequestTokens),
      generated_tokens(kRequestTokens) {}

void HttpMetrics::CountRequest(absl::string_view route, int status) {
  absl::MutexLock lock(&mutex_);
  ++requests_[{std::string(route), status}];
}

std::map<std::pair<std::string, int>, int64_t> HttpMetrics::requests() const {
  absl::MutexLock lock(&mutex_);
  return requests_;
}

namespace {

// `models` and `aliases`: the same models under the labels of our names and of vLLM's.
std::string AllMetrics(const HttpMetrics& http, const std::vector<std::string>& names, const Models& models,
                       const Models& aliases, const std::vector<KeyTotals>& keys) {
  Writer out;
  out.Family("barn_model_info", "gauge", "The served models.");
  for (const std::string& name : names) {
    out.Sample("barn_model_info", absl::StrCat("model=", Quoted(name)), int64_t{1});
  }
  WriteEngines(models, out);
  WriteWorkers(models, out);
  WriteRequests(http, out);
  WriteKeys(keys, out);
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
  WriteAliases(http, aliases, names.size() == 1 ? aliases.front().label : "", out);
  return out.Take();
}

}  // namespace

std::string MetricsText(const HttpMetrics& http, const EngineState& engine, const std::vector<KeyTotals>& keys,
                        absl::string_view model) {
  const std::string name(model);
  return AllMetrics(http, {name}, {{"", engine}}, {{absl::StrCat("model_name=", Quoted(name)), engine}}, keys);
}

std::string MetricsText(const HttpMetrics& http, const std::vector<std::pair<std::string, EngineState>>& models,
                        const std::vector<KeyTotals>& keys) {
  std::vector<std::string> names;
  Models labelled, aliases;
  for (const auto& [name, engine] : models) {
    names.push_back(name);
    labelled.push_back({absl::StrCat("model=", Quoted(name)), engine});
    aliases.push_back({absl::StrCat("model_name=", Quoted(name)), engine});
  }
  return AllMetrics(http, names, labelled, aliases, keys);
}

}  // namespace barn
