#include "coordinator/cli/bench_report.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "sharding/byte_text.h"

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

// Streams that run together share what they read, so the bound of one does not hold for them.
bool HasMemoryBound(const BenchReport& report) {
  return report.generation && report.streams == 1 && report.machine.read_bytes_per_s > 0;
}

double MemoryBound(const BenchReport& report) {
  return MemoryBoundTokensPerSecond(report.token_bytes, report.machine.read_bytes_per_s);
}

int64_t SlicesBytes(const BenchReport& report) {
  int64_t bytes = 0;
  for (const WorkerState& worker : report.workers) bytes += worker.load_bytes_total;
  return bytes;
}

std::string MachineLine(const Machine& machine) {
  std::string line = absl::StrCat("machine    ", machine.cpu.empty() ? "unknown processor" : machine.cpu, ", ",
                                  machine.cores, " core(s), ", ByteText(machine.memory_bytes), ", ", machine.system);
  if (!machine.governor.empty()) absl::StrAppend(&line, ", governor ", machine.governor);
  if (machine.read_bytes_per_s > 0) {
    absl::StrAppendFormat(&line, "; %d thread(s) read %.1f GB/s", machine.threads, machine.read_bytes_per_s * 1e-9);
  }
  return line + "\n";
}

std::string BoundLine(const BenchReport& report) {
  const TokenBytes& bytes = report.token_bytes;
  return absl::StrFormat(
      "bound      a token reads %s (dense %s, experts %s, KV %s): at most %.1f tokens/s; %.0f %% reached\n",
      ByteText(bytes.total()), ByteText(bytes.dense), ByteText(bytes.experts), ByteText(bytes.kv), MemoryBound(report),
      100 * report.generation->median / MemoryBound(report));
}

nlohmann::json MachineJson(const BenchReport& report) {
  const Machine& machine = report.machine;
  nlohmann::json out = {{"cores", machine.cores},
                        {"threads", machine.threads},
                        {"memory_bytes", machine.memory_bytes},
                        {"system", machine.system},
                        {"workers", nlohmann::json::array()}};
  if (!machine.cpu.empty()) out["cpu"] = machine.cpu;
  if (!machine.governor.empty()) out["governor"] = machine.governor;
  if (machine.read_bytes_per_s > 0) out["read_gb_per_s"] = machine.read_bytes_per_s * 1e-9;
  for (const WorkerState& worker : report.workers) {
    out["workers"].push_back(
        {{"name", worker.name}, {"device", worker.device}, {"slice_bytes", worker.load_bytes_total}});
  }
  return out;
}

}  // namespace

std::string BenchText(const BenchReport& report) {
  std::string text = absl::StrCat(report.model, ", ", report.workers.size(), " worker(s)");
  for (const WorkerState& worker : report.workers) absl::StrAppend(&text, "; ", worker.name, ": ", worker.device);
  absl::StrAppend(&text, "\n", MachineLine(report.machine));
  absl::StrAppendFormat(&text, "load       %s in %.2f s\n", ByteText(SlicesBytes(report)), report.load_s);
  absl::StrAppend(&text, "median of ", report.repetitions, " (least to most)\n");
  if (report.prompt) text += SpeedLine("prompt", report.prompt_tokens, *report.prompt, "");
  if (report.generation) {
    text += SpeedLine("generation", report.generated_tokens, *report.generation, GenerationNote(report));
  }
  if (HasMemoryBound(report)) text += BoundLine(report);
  return text;
}

std::string BenchJson(const BenchReport& report) {
  const TokenBytes& bytes = report.token_bytes;
  nlohmann::json out = {{"model", report.model},
                        {"workers", report.workers.size()},
                        {"prompt_tokens", report.prompt_tokens},
                        {"generated_tokens", report.generated_tokens},
                        {"depth_tokens", report.depth_tokens},
                        {"streams", report.streams},
                        {"repetitions", report.repetitions},
                        {"load_s", report.load_s},
                        {"slices_bytes", SlicesBytes(report)},
                        {"token_bytes", {{"dense", bytes.dense}, {"experts", bytes.experts}, {"kv", bytes.kv}}},
                        {"machine", MachineJson(report)}};
  AddSpeed("prompt_tokens_per_s", report.prompt, out);
  AddSpeed("generation_tokens_per_s", report.generation, out);
  if (HasMemoryBound(report)) {
    out["memory_bound_tokens_per_s"] = MemoryBound(report);
    out["memory_bound_share"] = report.generation->median / MemoryBound(report);
  }
  return out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace barn
