// `barn show` and `barn plan`: what a model holds, and what fits where. Both read the header only.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "coordinator/cli/commands.h"
#include "coordinator/cli/model_reference.h"
#include "coordinator/cli/options.h"
#include "coordinator/cli/size_text.h"
#include "proto/base/status.h"
#include "sharding/gpu_memory.h"
#include "sharding/gpu_speed.h"
#include "sharding/plan.h"
#include "sharding/plan_text.h"
#include "sharding/show.h"

namespace barn {
namespace {

struct ShowSettings {
  std::string model;
  bool json = false;
};

absl::Status Show(const ShowSettings& settings) {
  BARN_ASSIGN_OR_RETURN(const ModelReference reference, ResolveModel(settings.model));
  BARN_ASSIGN_OR_RETURN(const std::unique_ptr<GgufModel> model, GgufModel::Open(reference.location));
  BARN_ASSIGN_OR_RETURN(const Catalogue catalogue, BuildCatalogue(*model));
  const std::string text =
      settings.json ? ShowJson(*model, catalogue).dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n"
                    : ShowText(*model, catalogue);
  std::fputs(text.c_str(), stdout);
  return absl::OkStatus();
}

struct PlanSettings {
  ModelOptions model;
  std::vector<std::string> nodes;
  bool json = false;
};

absl::StatusOr<const GpuFigures*> ParseGpu(absl::string_view spec, absl::string_view name) {
  if (const GpuFigures* gpu = FindGpu({name.data(), name.size()}); gpu != nullptr) return gpu;
  std::vector<std::string> names;
  for (const GpuFigures& gpu : KnownGpus()) names.emplace_back(gpu.name);
  return absl::InvalidArgumentError(
      absl::StrFormat("--node %s: gpu=%s is none of %s", spec, name, absl::StrJoin(names, ", ")));
}

// "rtx4090" or "rtx4090+64GiB", with memory of the host for experts.
absl::StatusOr<const GpuFigures*> ReadGpu(absl::string_view spec, absl::string_view value, PlanNode& node) {
  const std::vector<absl::string_view> halves = absl::StrSplit(value, absl::MaxSplits('+', 1));
  if (halves.size() == 2) {
    BARN_ASSIGN_OR_RETURN(node.host_memory_bytes, ParseBytes(halves[1]));
  }
  return ParseGpu(spec, halves[0]);
}

// "name=8GiB", "8GiB", with ",threads=4", ",machine=A" (nodes of one machine may share layers) and ",gpu=rtx4090",
// which brings its memory when none is named, or ",gpu=rtx4090+64GiB".
absl::StatusOr<PlanNode> ParseNode(absl::string_view spec, int index) {
  PlanNode node{.name = absl::StrCat("node-", index), .link = {.transport = "UCX"}};
  const GpuFigures* gpu = nullptr;
  bool has_memory = false;
  for (const absl::string_view word : absl::StrSplit(spec, ',')) {
    const std::vector<absl::string_view> halves = absl::StrSplit(word, absl::MaxSplits('=', 1));
    if (halves.size() == 2 && halves[0] == "threads") {
      if (!absl::SimpleAtoi(halves[1], &node.threads) || node.threads < 1) {
        return absl::InvalidArgumentError(absl::StrFormat("--node %s: threads=%s is not a number", spec, halves[1]));
      }
      continue;
    }
    if (halves.size() == 2 && halves[0] == "gpu" && !ParseBytes(halves[1]).ok()) {  // Else a node of this name.
      BARN_ASSIGN_OR_RETURN(gpu, ReadGpu(spec, halves[1], node));
      continue;
    }
    if (halves.size() == 2 && halves[0] == "machine") {
      node.memory_domain = std::string(halves[1]);
      continue;
    }
    if (halves.size() == 2) {
      node.name = std::string(halves[0]);
    }
    BARN_ASSIGN_OR_RETURN(node.memory_bytes, ParseBytes(halves.back()));
    has_memory = true;
  }
  if (gpu != nullptr) {
    node.gpu = true;
    node.link = {.transport = "NCCL", .device = absl::StrCat("gpu ", index), .read_bytes_per_s = gpu->read_bytes_per_s};
    if (!has_memory) {  // What a worker on it offers.
      node.memory_bytes =
          static_cast<int64_t>(static_cast<double>(gpu->memory_bytes) * kGpuTakenShare * kGpuOfferedShare);
    }
    has_memory = true;
  }
  if (!has_memory) {
    return absl::InvalidArgumentError(absl::StrFormat("--node %s names no memory, as in box=8GiB", spec));
  }
  return node;
}

absl::Status Plan(const PlanSettings& settings) {
  BARN_ASSIGN_OR_RETURN(const ModelReference reference, ResolveModel(settings.model.model));
  BARN_ASSIGN_OR_RETURN(const std::unique_ptr<GgufModel> model,
                        GgufModel::Open(reference.location, {.header_only = true}));
  BARN_ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(*model));
  BARN_ASSIGN_OR_RETURN(const Catalogue catalogue, BuildCatalogue(*model));
  std::vector<PlanNode> nodes;
  for (const std::string& spec : settings.nodes) {
    BARN_ASSIGN_OR_RETURN(PlanNode node, ParseNode(spec, static_cast<int>(nodes.size())));
    nodes.push_back(std::move(node));
  }
  if (nodes.empty()) {
    nodes.push_back({.name = "this-machine", .memory_bytes = PhysicalMemoryBytes(), .threads = 1});
  }
  const PlanOptions options{.context_tokens = settings.model.context_tokens,
                            .kv = KvTypeOf(settings.model),
                            .objective = settings.model.objective,
                            .remote = absl::StrContains(reference.location, "://")};
  BARN_ASSIGN_OR_RETURN(const ShardPlan plan, PlanShards(catalogue, config, nodes, options));
  std::string text = settings.json ? PlanJson(plan, nodes).dump(2) + "\n" : PlanText(plan, nodes);
  if (!settings.json && std::any_of(nodes.begin(), nodes.end(), [](const PlanNode& node) { return node.gpu; })) {
    absl::StrAppendFormat(&text, "\none stream: %.3g tokens/s predicted, from datasheets; not measured on a GPU\n",
                          plan.stream_tokens_per_s);
  }
  std::fputs(text.c_str(), stdout);
  return absl::OkStatus();
}

}  // namespace

void AddShowCommand(CLI::App& app) {
  CLI::App* command = app.add_subcommand("show", "What a model file holds: architecture, tensors by role, experts");
  auto settings = std::make_shared<ShowSettings>();
  command->add_option("model", settings->model, "A model; only its header is read")->required();
  command->add_flag("--json", settings->json, "As JSON, with every tensor and every metadata key");
  SetWork(command, [settings] { return Show(*settings); });
}

void AddPlanCommand(CLI::App& app) {
  CLI::App* command = app.add_subcommand("plan", "What fits where, from the header alone");
  auto settings = std::make_shared<PlanSettings>();
  AddModelArgument(command, settings->model);
  command->add_option("--node", settings->nodes,
                      "A worker, as box=8GiB, box=8GiB,threads=4,machine=A (those of one machine may share layers) or "
                      "gpu=rtx4090+64GiB,threads=8,machine=A (a GPU, and its host's memory for experts); may be given "
                      "again");
  AddContextOptions(command, settings->model);
  command->add_flag("--json", settings->json, "As JSON");
  SetWork(command, [settings] { return Plan(*settings); });
}

}  // namespace barn
