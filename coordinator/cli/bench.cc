// `barn bench`: prompt and generation speed of a model through the whole system but HTTP.
#include <algorithm>
#include <cstdio>
#include <future>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "coordinator/cli/commands.h"
#include "coordinator/cli/local_cluster.h"
#include "coordinator/cli/options.h"
#include "coordinator/cli/statistics.h"
#include "proto/base/status.h"

namespace barn {
namespace {

struct BenchSettings {
  ModelOptions model;
  LocalWorkerOptions local;
  int64_t prompt_tokens = 512;
  int64_t generated_tokens = 128;
  int repetitions = 5;
  int streams = 1;
  bool json = false;
};

// Seeded ids in the ordinary range of a vocabulary: what they say does not matter, that they differ does (experts).
std::vector<int32_t> PromptIds(int64_t count, int64_t vocabulary, uint64_t seed) {
  std::vector<int32_t> ids;
  uint64_t state = seed * 2654435761u + 1;
  for (int64_t i = 0; i < count; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    ids.push_back(static_cast<int32_t>((state >> 33) % static_cast<uint64_t>(vocabulary)));
  }
  return ids;
}

GenerateRequest Greedy(std::vector<int32_t> prompt, int64_t max_tokens) {
  GenerateRequest request;
  request.prompt = std::move(prompt);
  request.max_tokens = max_tokens;
  request.sampling.temperature = 0;
  request.ignore_end = true;
  return request;
}

// Tokens per second of a prompt up to its first generated token.
absl::StatusOr<double> PromptSpeed(ServedCluster& cluster, const BenchSettings& settings, uint64_t seed) {
  const absl::Time start = absl::Now();
  BARN_RETURN_IF_ERROR(cluster.Run(Greedy(PromptIds(settings.prompt_tokens, cluster.vocabulary(), seed), 1)).status());
  return static_cast<double>(settings.prompt_tokens) / absl::ToDoubleSeconds(absl::Now() - start);
}

// Tokens per second of all streams together, from the first generated token of each to the last token of all.
absl::StatusOr<double> GenerationSpeed(ServedCluster& cluster, const BenchSettings& settings, uint64_t seed) {
  struct Stream {
    absl::Time first;
    absl::Status status;
  };
  std::vector<Stream> streams(settings.streams);
  std::vector<std::thread> threads;
  for (int i = 0; i < settings.streams; ++i) {
    threads.emplace_back([&, i] {
      bool started = false;
      streams[i].status = cluster
                              .Run(Greedy(PromptIds(1, cluster.vocabulary(), seed + i), settings.generated_tokens + 1),
                                   [&](const GeneratedToken&) {
                                     if (!started) {
                                       started = true;
                                       streams[i].first = absl::Now();
                                     }
                                   })
                              .status();
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  const absl::Time end = absl::Now();
  absl::Time start = absl::InfiniteFuture();
  for (const Stream& stream : streams) {
    BARN_RETURN_IF_ERROR(stream.status);
    start = std::min(start, stream.first);
  }
  return static_cast<double>(settings.generated_tokens * settings.streams) / absl::ToDoubleSeconds(end - start);
}

using Measure = absl::StatusOr<double> (*)(ServedCluster&, const BenchSettings&, uint64_t);

absl::StatusOr<Summary> Repeat(Measure measure, ServedCluster& cluster, const BenchSettings& settings) {
  BARN_RETURN_IF_ERROR(measure(cluster, settings, 1).status());  // Warm-up: pages, clocks.
  std::vector<double> values;
  for (int i = 0; i < settings.repetitions; ++i) {
    BARN_ASSIGN_OR_RETURN(const double value, measure(cluster, settings, 100 + 17 * i));
    values.push_back(value);
  }
  return Summarize(values);
}

nlohmann::json ToJson(const Summary& summary) { return {{"min", summary.min}, {"max", summary.max}}; }

void Print(const BenchSettings& settings, const ServedCluster& cluster, const EngineState& state,
           const std::optional<Summary>& prompt, const std::optional<Summary>& generation) {
  if (settings.json) {
    nlohmann::json out = {{"model", cluster.reference().id},
                          {"workers", settings.local.workers},
                          {"prompt_tokens", settings.prompt_tokens},
                          {"generated_tokens", settings.generated_tokens},
                          {"streams", settings.streams},
                          {"repetitions", settings.repetitions},
                          {"machine", {{"cores", std::thread::hardware_concurrency()}}}};
    for (const WorkerState& worker : state.workers) {
      out["machine"]["workers"].push_back({{"name", worker.name}, {"device", worker.device}});
    }
    if (prompt) {
      out["prompt_tokens_per_s"] = prompt->median;
      out["prompt_tokens_per_s_spread"] = ToJson(*prompt);
    }
    if (generation) {
      out["generation_tokens_per_s"] = generation->median;
      out["generation_tokens_per_s_spread"] = ToJson(*generation);
    }
    std::printf("%s\n", out.dump(2).c_str());
    return;
  }
  std::printf("%s, %d worker(s)", cluster.reference().id.c_str(), settings.local.workers);
  for (const WorkerState& worker : state.workers) {
    std::printf("; %s: %s", worker.name.c_str(), worker.device.c_str());
  }
  std::printf("\nmedian of %d (least to most)\n", settings.repetitions);
  if (prompt) {
    std::printf("prompt     %5d tokens  %9.1f tokens/s  (%.1f to %.1f)\n", static_cast<int>(settings.prompt_tokens),
                prompt->median, prompt->min, prompt->max);
  }
  if (generation) {
    std::printf("generation %5d tokens  %9.1f tokens/s  (%.1f to %.1f)%s\n",
                static_cast<int>(settings.generated_tokens), generation->median, generation->min, generation->max,
                settings.streams > 1 ? absl::StrFormat("  %d streams together", settings.streams).c_str() : "");
  }
}

absl::Status Bench(const BenchSettings& settings) {
  ServedCluster::Options options;
  options.model = settings.model;
  options.local = settings.local;
  options.workers_expected = settings.local.workers;
  BARN_ASSIGN_OR_RETURN(std::unique_ptr<ServedCluster> cluster, ServedCluster::Start(options));
  BARN_RETURN_IF_ERROR(cluster->WaitReady());
  std::optional<Summary> prompt;
  std::optional<Summary> generation;
  if (settings.prompt_tokens > 0) {
    BARN_ASSIGN_OR_RETURN(prompt, Repeat(PromptSpeed, *cluster, settings));
  }
  if (settings.generated_tokens > 0) {
    BARN_ASSIGN_OR_RETURN(generation, Repeat(GenerationSpeed, *cluster, settings));
  }
  Print(settings, *cluster, cluster->engine().State(), prompt, generation);
  return absl::OkStatus();
}

}  // namespace

void AddBenchCommand(CLI::App& app) {
  CLI::App* command = app.add_subcommand("bench", "Measure prompt and generation speed");
  auto settings = std::make_shared<BenchSettings>();
  AddModelArgument(command, settings->model);
  command->add_option("-p", settings->prompt_tokens, "Prompt tokens (0: skip)")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 24))
      ->capture_default_str();
  command->add_option("-n", settings->generated_tokens, "Generated tokens (0: skip)")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 24))
      ->capture_default_str();
  command->add_option("-r", settings->repetitions, "Repetitions")->check(CLI::Range(1, 1000))->capture_default_str();
  command->add_option("--streams", settings->streams, "Streams that generate together")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  command->add_flag("--json", settings->json, "As JSON");
  AddContextOptions(command, settings->model);
  AddLocalWorkerOptions(command, settings->local);
  SetWork(command, [settings] { return Bench(*settings); });
}

}  // namespace barn
