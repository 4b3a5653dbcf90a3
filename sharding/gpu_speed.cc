#include "sharding/gpu_speed.h"

#include <algorithm>
#include <array>
#include <vector>

#include "sharding/speed.h"
#include "sharding/tiers.h"

namespace barn {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;
constexpr std::array kGpus = {GpuFigures{"rtx3060", 12 * kGiB, 360e9},  GpuFigures{"rtx3090", 24 * kGiB, 936e9},
                              GpuFigures{"rtx4090", 24 * kGiB, 1008e9}, GpuFigures{"rtx5090", 32 * kGiB, 1792e9},
                              GpuFigures{"l40s", 48 * kGiB, 864e9},     GpuFigures{"a100", 80 * kGiB, 2039e9},
                              GpuFigures{"h100", 80 * kGiB, 3350e9},    GpuFigures{"h200", 141'000'000'000, 4800e9}};

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

double GpuSeconds(const Catalogue& catalogue, const ModelConfig& config, const PlanStage& stage, const PlanNode& node,
                  double bytes) {
  const std::vector<bool> routed = RoutedLayers(catalogue);
  double seconds = (bytes - HostBytesPerToken(catalogue, config, stage)) / ReadBytesPerSecond(node);
  seconds += HostSeconds(catalogue, config, stage, node);
  for (int64_t layer = stage.first_layer; layer < stage.last_layer; ++layer) {
    const bool experts = routed[static_cast<size_t>(layer)];
    seconds += kLaunchSeconds * (experts ? kLaunchesPerRoutedLayer : kLaunchesPerLayer);
    seconds += experts ? kHostWaitSeconds : 0;
  }
  return seconds;
}

}  // namespace barn
