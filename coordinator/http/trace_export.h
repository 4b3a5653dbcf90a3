#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace barn {

// One request as tracing sees it, a server span of OpenTelemetry.
struct TraceSpan {
  std::string trace_id;   // 32 hexadecimal digits; empty: a trace of its own.
  std::string parent_id;  // 16 hexadecimal digits, or empty.
  std::string name;
  absl::Time begin;
  absl::Time end;
  bool failed = false;
  std::vector<std::pair<std::string, std::variant<std::string, int64_t, double>>> attributes;
};

// The spans as an ExportTraceServiceRequest in JSON (OTLP 1.x), with fresh span ids.
std::string SpansJson(std::span<const TraceSpan> spans);

// Sends spans to a collector as OTLP/HTTP JSON, from a thread of its own and some at a time. What the collector does
// not take is dropped and told in the log: requests never wait for it. Thread-safe.
class TraceExport {
 public:
  // `endpoint`: the collector's address as OTEL_EXPORTER_OTLP_ENDPOINT has it, "http://host:4318"; spans go to
  // /v1/traces below it. InvalidArgument: no http or https URL.
  static absl::StatusOr<std::unique_ptr<TraceExport>> Create(const std::string& endpoint);
  // Sends what is left, for at most 2 s.
  ~TraceExport();
  TraceExport(const TraceExport&) = delete;
  TraceExport& operator=(const TraceExport&) = delete;

  void Add(TraceSpan span);

 private:
  class Impl;
  explicit TraceExport(std::unique_ptr<Impl> impl);

  const std::unique_ptr<Impl> impl_;
};

}  // namespace barn
