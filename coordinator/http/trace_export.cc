#include "coordinator/http/trace_export.h"

#include <curl/curl.h>

#include <algorithm>
#include <thread>

#include <nlohmann/json.hpp>

#include "absl/random/random.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "coordinator/http/json_reply.h"
#include "spdlog/spdlog.h"

namespace barn {
namespace {

using Json = nlohmann::json;

constexpr size_t kSpansMax = 4096;  // That wait.
constexpr size_t kSpansPerPost = 512;
constexpr absl::Duration kInterval = absl::Seconds(2);
constexpr long kPostTimeoutMs = 5000;
constexpr long kLastPostTimeoutMs = 2000;
constexpr absl::Duration kWarnEvery = absl::Minutes(1);
constexpr int kServerSpan = 2;   // SPAN_KIND_SERVER
constexpr int kStatusError = 2;  // STATUS_CODE_ERROR

std::string NewTraceId() {
  thread_local absl::BitGen random;
  return absl::StrCat(absl::Hex(absl::Uniform<uint64_t>(random, 1, UINT64_MAX), absl::kZeroPad16),
                      absl::Hex(absl::Uniform<uint64_t>(random), absl::kZeroPad16));
}

Json Value(const std::variant<std::string, int64_t, double>& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return {{"stringValue", *text}};
  // 64-bit integers are texts in the JSON of protobuf.
  if (const auto* number = std::get_if<int64_t>(&value)) return {{"intValue", absl::StrCat(*number)}};
  return {{"doubleValue", std::get<double>(value)}};
}

Json SpanJson(const TraceSpan& span) {
  Json attributes = Json::array();
  for (const auto& [key, value] : span.attributes) attributes.push_back({{"key", key}, {"value", Value(value)}});
  Json json = {{"traceId", span.trace_id.empty() ? NewTraceId() : span.trace_id},
               {"spanId", NewTraceId().substr(0, 16)},
               {"name", span.name},
               {"kind", kServerSpan},
               {"startTimeUnixNano", absl::StrCat(absl::ToUnixNanos(span.begin))},
               {"endTimeUnixNano", absl::StrCat(absl::ToUnixNanos(span.end))},
               {"attributes", std::move(attributes)},
               {"status", span.failed ? Json{{"code", kStatusError}} : Json::object()}};
  if (!span.parent_id.empty()) json["parentSpanId"] = span.parent_id;
  return json;
}

size_t DropReply(char*, size_t size, size_t count, void*) { return size * count; }

// "" when the collector took them, else why not.
std::string Post(const std::string& url, const std::string& body, long timeout_ms) {
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(), &curl_easy_cleanup);
  if (curl == nullptr) return "libcurl does not start";
  const std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> headers(
      curl_slist_append(nullptr, "Content-Type: application/json"), &curl_slist_free_all);
  curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT_MS, timeout_ms);
  curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
  curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDS, body.data());
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, &DropReply);
  const CURLcode code = curl_easy_perform(curl.get());
  if (code != CURLE_OK) return curl_easy_strerror(code);
  long status = 0;
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
  return status / 100 == 2 ? "" : absl::StrCat("status ", status);
}

}  // namespace

std::string SpansJson(std::span<const TraceSpan> spans) {
  Json list = Json::array();
  for (const TraceSpan& span : spans) list.push_back(SpanJson(span));
  const Json service = {{"key", "service.name"}, {"value", {{"stringValue", "barn"}}}};
  const Json scope = {{"scope", {{"name", "barn.http"}}}, {"spans", std::move(list)}};
  return JsonText({{"resourceSpans", Json::array({{{"resource", {{"attributes", Json::array({service})}}},
                                                   {"scopeSpans", Json::array({scope})}}})}});
}

class TraceExport::Impl {
 public:
  explicit Impl(std::string url) : url_(std::move(url)), thread_([this] { Run(); }) {}

  ~Impl() {
    {
      absl::MutexLock lock(&mutex_);
      stopping_ = true;
    }
    thread_.join();
  }

  void Add(TraceSpan span) {
    absl::MutexLock lock(&mutex_);
    if (waiting_.size() >= kSpansMax) {
      ++dropped_;
    } else {
      waiting_.push_back(std::move(span));
    }
  }

 private:
  void Run() {
    for (bool last = false; !last;) {
      std::vector<TraceSpan> spans;
      int64_t dropped = 0;
      {
        absl::MutexLock lock(&mutex_);
        const auto due = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
          return stopping_ || waiting_.size() >= kSpansPerPost;
        };
        mutex_.AwaitWithTimeout(absl::Condition(&due), kInterval);
        last = stopping_;
        spans.swap(waiting_);
        dropped = std::exchange(dropped_, 0);
      }
      Send(spans, last ? kLastPostTimeoutMs : kPostTimeoutMs, dropped);
    }
  }

  void Send(std::span<const TraceSpan> spans, long timeout_ms, int64_t dropped) {
    std::string reason;
    for (size_t at = 0; at < spans.size() && reason.empty(); at += kSpansPerPost) {
      const auto part = spans.subspan(at, std::min(kSpansPerPost, spans.size() - at));
      reason = Post(url_, SpansJson(part), timeout_ms);
      if (!reason.empty()) dropped += std::ssize(spans) - static_cast<int64_t>(at);
    }
    dropped_untold_ += dropped;
    const absl::Time now = absl::Now();
    if (dropped_untold_ == 0 || now < warn_after_) return;
    spdlog::warn("traces: {} spans were dropped, {} does not take them: {}", dropped_untold_, url_,
                 reason.empty() ? "too many at once" : reason);
    dropped_untold_ = 0;
    warn_after_ = now + kWarnEvery;
  }

  const std::string url_;
  absl::Mutex mutex_;
  std::vector<TraceSpan> waiting_ ABSL_GUARDED_BY(mutex_);
  int64_t dropped_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  // Of the thread.
  int64_t dropped_untold_ = 0;
  absl::Time warn_after_ = absl::InfinitePast();
  std::thread thread_;
};

absl::StatusOr<std::unique_ptr<TraceExport>> TraceExport::Create(const std::string& endpoint) {
  if (!absl::StartsWith(endpoint, "http://") && !absl::StartsWith(endpoint, "https://")) {
    return absl::InvalidArgumentError(absl::StrCat("'", endpoint, "' is no http or https URL of a trace collector"));
  }
  std::string url = endpoint;
  while (absl::EndsWith(url, "/")) url.pop_back();
  return std::unique_ptr<TraceExport>(new TraceExport(std::make_unique<Impl>(absl::StrCat(url, "/v1/traces"))));
}

TraceExport::TraceExport(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TraceExport::~TraceExport() = default;
void TraceExport::Add(TraceSpan span) { impl_->Add(std::move(span)); }

}  // namespace barn
