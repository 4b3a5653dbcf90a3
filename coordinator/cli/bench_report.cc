#include "coordinator/cli/bench_report.h"

#include <nlohmann/json.hpp>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace barn {
namespace {

void AddSpeed(const char* name, const std::optional<Summary>& speed, nlohmann::json& out) {
  if (!speed) return;
  out[name] = speed->median;
  out[absl::StrCat(name, "_spread")] = {{"min", speed->min}, {"max", speed->max}};
}

std::string SpeedLine(const char* what, int64_t tokens, const Summary& speed, const std::string& note) {
  return absl::StrFormat("%-10s %5d tokens  %9.1f tokens/s  (%.1f to %.1f)%s\n", what, tokens, speed.median, speed.min,
                         speed.max, note);
}

std::string GenerationNote(const BenchReport& report) {
  std::string note;
  if (report.depth_tokens > 0) absl::StrAppend(&note, "  behind ", report.depth_tokens, " tokens");
  if (report.streams > 1) absl::StrAppend(&note, "  ", report.streams, " streams together");
  return note;
}

}  // namespace

std::string BenchText(const BenchReport& report) {
  std::string text = absl::StrCat(report.model, ", ", report.workers.size(), " worker(s)");
  for (const WorkerState& worker : report.workers) absl::StrAppend(&text, "; ", worker.name, ": ", worker.device);
  absl::StrAppend(&text, "\nmedian of ", report.repetitions, " (least to most)\n");
  if (report.prompt) text += SpeedLine("prompt", report.prompt_tokens, *report.prompt, "");
  if (report.generation) {
    text += SpeedLine("generation", report.generated_tokens, *report.generation, GenerationNote(report));
  }
  return text;
}

std::string BenchJson(const BenchReport& report) {
  nlohmann::json out = {{"model", report.model},
                        {"workers", report.workers.size()},
                        {"prompt_tokens", report.prompt_tokens},
                        {"generated_tokens", report.generated_tokens},
                        {"depth_tokens", report.depth_tokens},
                        {"streams", report.streams},
                        {"repetitions", report.repetitions},
                        {"machine", {{"cores", std::thread::hardware_concurrency()}}}};
  for (const WorkerState& worker : report.workers) {
    out["machine"]["workers"].push_back({{"name", worker.name}, {"device", worker.device}});
  }
  AddSpeed("prompt_tokens_per_s", report.prompt, out);
  AddSpeed("generation_tokens_per_s", report.generation, out);
  return out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace barn
