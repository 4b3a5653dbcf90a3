// `barn bench`: prompt and generation speed of a model through the whole system but HTTP.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "coordinator/cli/bench_report.h"
#include "coordinator/cli/bench_speed.h"
#include "coordinator/cli/commands.h"
#include "coordinator/cli/local_cluster.h"
#include "coordinator/cli/machine.h"
#include "coordinator/cli/memory_bound.h"
#include "coordinator/cli/options.h"
#include "kernels/cpu/bandwidth.h"
#include "kernels/cpu/cores.h"
#include "proto/base/status.h"
#include "sharding/catalogue.h"
#include "sharding/model_config.h"
#include "worker/model/architectures.h"

namespace barn {
namespace {

struct BenchSettings {
  ModelOptions model;
  LocalWorkerOptions local;
  BenchWork work;
  bool json = false;
};

// What the attention of each layer reads, for the type of cache that was asked for.
absl::StatusOr<std::vector<KvReads>> LayersOf(const ServedCluster& cluster, KvType kv) {
  BARN_ASSIGN_OR_RETURN(const ModelSpec spec, DescribeModel(cluster.model(), 0));
  std::vector<KvReads> layers;
  for (const LayerSpec& layer : spec.layers) {
    layers.push_back({.bytes_per_position = layer.attention.kv.bytes_per_token(kv),
                      .positions_max = std::max(layer.attention.window, layer.attention.chunk)});
  }
  return layers;
}

absl::StatusOr<TokenBytes> TokenBytesOf(const ServedCluster& cluster, const BenchSettings& settings) {
  BARN_ASSIGN_OR_RETURN(const Catalogue catalogue, BuildCatalogue(cluster.model()));
  BARN_ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(cluster.model()));
  BARN_ASSIGN_OR_RETURN(const std::vector<KvReads> layers, LayersOf(cluster, KvTypeOf(settings.model)));
  const int64_t positions = FilledTokens(settings.work) + (settings.work.generated_tokens + 1) / 2;
  return BytesOfToken(catalogue, config.experts_used, layers, positions);
}

absl::Status Bench(const BenchSettings& settings) {
  const BenchWork& work = settings.work;
  ServedCluster::Options options;
  options.scheduling.stall_ms = 60'000;  // Prompts are over before all streams are timed together.
  options.model = settings.model;
  options.local = settings.local;
  options.workers_expected = settings.local.workers;
  const int64_t context_tokens = ContextTokens(work);
  if (options.model.context_tokens == 0) {
    options.model.context_tokens = context_tokens;
  } else if (options.model.context_tokens < context_tokens) {
    return absl::InvalidArgumentError(absl::StrFormat("a context of %d tokens is too short, this needs %d",
                                                      options.model.context_tokens, context_tokens));
  }
  Machine machine = DescribeMachine();
  machine.cores = CoreList().count();
  machine.threads = LocalThreads(settings.local);
  BARN_ASSIGN_OR_RETURN(machine.read_bytes_per_s, MeasureReadBandwidth(machine.threads));
  const absl::Time began = absl::Now();
  BARN_ASSIGN_OR_RETURN(std::unique_ptr<ServedCluster> cluster, ServedCluster::Start(options));
  BARN_RETURN_IF_ERROR(cluster->WaitReady());
  BenchReport report = {.model = cluster->reference().id,
                        .prompt_tokens = work.prompt_tokens,
                        .generated_tokens = work.generated_tokens,
                        .depth_tokens = work.depth_tokens,
                        .streams = work.streams,
                        .repetitions = work.repetitions,
                        .load_s = absl::ToDoubleSeconds(absl::Now() - began),
                        .machine = machine,
                        .workers = cluster->engine().State().workers};
  BARN_ASSIGN_OR_RETURN(report.token_bytes, TokenBytesOf(*cluster, settings));
  if (work.prompt_tokens > 0) {
    BARN_ASSIGN_OR_RETURN(report.prompt, MeasurePrompt(*cluster, work));
  }
  if (work.generated_tokens > 0) {
    BARN_ASSIGN_OR_RETURN(report.generation, MeasureGeneration(*cluster, work));
  }
  // Again, since others may have been at work before.
  BARN_ASSIGN_OR_RETURN(const double read_bytes_per_s, MeasureReadBandwidth(machine.threads));
  report.machine.read_bytes_per_s = std::max(report.machine.read_bytes_per_s, read_bytes_per_s);
  std::fputs((settings.json ? BenchJson(report) : BenchText(report)).c_str(), stdout);
  return absl::OkStatus();
}

}  // namespace

void AddBenchCommand(CLI::App& app) {
  CLI::App* command = app.add_subcommand("bench", "Measure prompt and generation speed");
  auto settings = std::make_shared<BenchSettings>();
  BenchWork& work = settings->work;
  AddModelArgument(command, settings->model);
  command->add_option("-p", work.prompt_tokens, "Prompt tokens (0: skip)")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 24))
      ->capture_default_str();
  command->add_option("-n", work.generated_tokens, "Generated tokens of each stream (0: skip)")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 24))
      ->capture_default_str();
  command->add_option("-d,--depth", work.depth_tokens, "Tokens in the context before generation is timed")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 24))
      ->capture_default_str();
  command->add_option("-r", work.repetitions, "Repetitions")->check(CLI::Range(1, 1000))->capture_default_str();
  command->add_option("--streams", work.streams, "Streams that generate together")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  command->add_flag("--json", settings->json, "As JSON");
  AddContextOptions(command, settings->model);
  AddLocalWorkerOptions(command, settings->local);
  SetWork(command, [settings] { return Bench(*settings); });
}

}  // namespace barn
