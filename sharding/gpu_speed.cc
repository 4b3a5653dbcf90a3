#include "sharding/gpu_speed.h"

#include <algorithm>
#include <array>

#include "sharding/speed.h"
#include "sharding/tiers.h"

namespace barn {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;
constexpr std::array kGpus = {GpuFigures{"rtx3060", 12 * kGiB, 360e9},  GpuFigures{"rtx3090", 24 * kGiB, 936e9},
                              GpuFigures{"rtx4090", 24 * kGiB, 1008e9}, GpuFigures{"rtx5090", 32 * kGiB, 1792e9},
                              GpuFigures{"l40s", 48 * kGiB, 864e9},     GpuFigures{"a100", 80 * kGiB, 2039e9},
                              GpuFigures{"h100", 80 * kGiB, 3350e9},    GpuFigures{"h200", 141'000'000'000, 4800e9}};

// The plan's stage as the only one, so that speed.h tells what it costs on processors, without hops.
double StageSeconds(const Catalogue& catalogue, const ModelConfig& config, const ShardPlan& plan,
                    const PlanStage& stage, std::span<const PlanNode> nodes) {
  ShardPlan alone = plan;
  alone.stages = {stage};
  return StreamSecondsPerToken(catalogue, config, alone, nodes);
}

// Whether layer i has experts.
std::vector<bool> RoutedLayers(const Catalogue& catalogue) {
  std::vector<bool> routed(static_cast<size_t>(catalogue.layers));
  for (const CatalogueEntry& entry : catalogue.entries) {
    if (entry.experts > 0 && entry.layer >= 0 && entry.layer < catalogue.layers) {
      routed[static_cast<size_t>(entry.layer)] = true;
    }
  }
  return routed;
}

}  // namespace

std::span<const GpuFigures> KnownGpus() { return kGpus; }

const GpuFigures* FindGpu(std::string_view name) {
  const auto* found = std::find_if(kGpus.begin(), kGpus.end(), [&](const GpuFigures& gpu) { return gpu.name == name; });
  return found == kGpus.end() ? nullptr : found;
}

double GpuStreamSecondsPerToken(const Catalogue& catalogue, const ModelConfig& config, const ShardPlan& plan,
                                std::span<const PlanNode> nodes, std::span<const GpuFigures* const> gpus) {
  const std::vector<bool> routed = RoutedLayers(catalogue);
  double seconds = kHopSeconds * static_cast<double>(plan.stages.size() - 1);
  for (const PlanStage& stage : plan.stages) {
    const auto node = static_cast<size_t>(stage.ranks.front().node);
    const double on_processors = StageSeconds(catalogue, config, plan, stage, nodes);
    const GpuFigures* gpu = stage.ranks.size() == 1 ? gpus[node] : nullptr;  // Ranks share the host's memory.
    if (gpu == nullptr) {
      seconds += on_processors;
      continue;
    }
    const double bytes = on_processors * kThreadBytesPerSecond * std::max(nodes[node].threads, 1);
    const double on_gpu = bytes - HostBytesPerToken(catalogue, config, stage);
    seconds += on_gpu / (kReachableBandwidth * gpu->read_bytes_per_s);
    seconds += HostSeconds(catalogue, config, stage, nodes[node]);
    for (int64_t layer = stage.first_layer; layer < stage.last_layer; ++layer) {
      const bool experts = routed[static_cast<size_t>(layer)];
      seconds += kLaunchSeconds * (experts ? kLaunchesPerRoutedLayer : kLaunchesPerLayer);
      seconds += experts ? kHostWaitSeconds : 0;
    }
  }
  return seconds;
}

}  // namespace barn
