#include "sharding/tiers.h"

#include <algorithm>
#include <cmath>

#include "sharding/speed.h"

namespace barn {
namespace {

// From the end of a kernel to the processors' first read, and back to the next kernel: two copies and a wait.
constexpr double kCrossingSeconds = 30e-6;

// A share of 1 or below always means that the bytes fit, also where a double cannot tell the two apart.
double Share(int64_t bytes, int64_t memory_bytes) {
  const double share = static_cast<double>(bytes) / static_cast<double>(memory_bytes);
  return bytes > memory_bytes ? std::max(share, std::nextafter(1.0, 2.0)) : share;
}

}  // namespace

std::vector<int64_t> ExpertBytesByLayer(const Catalogue& catalogue) {
  std::vector<int64_t> bytes(static_cast<size_t>(catalogue.layers));
  for (const CatalogueEntry& entry : catalogue.entries) {
    if (entry.experts > 0 && entry.layer >= 0 && entry.layer < catalogue.layers) {
      bytes[static_cast<size_t>(entry.layer)] += entry.tensor.size_bytes;
    }
  }
  return bytes;
}

void MoveExpertsToHost(std::span<const int64_t> expert_bytes, const PlanNode& node, PlanStage& stage) {
  PlanRank& alone = stage.ranks.front();
  if (node.host_memory_bytes == 0) return;
  for (int64_t layer = stage.last_layer - 1; layer >= stage.first_layer; --layer) {
    if (alone.total_bytes() <= node.memory_bytes) return;
    const int64_t bytes = expert_bytes[static_cast<size_t>(layer)];
    if (bytes == 0) continue;
    alone.weights_bytes -= bytes;
    alone.host_bytes += bytes;
    stage.host_expert_layers = stage.last_layer - layer;
  }
}

double Fullness(const PlanRank& rank, std::span<const PlanNode> nodes) {
  const PlanNode& node = nodes[static_cast<size_t>(rank.node)];
  const double own = Share(rank.total_bytes(), node.memory_bytes);
  if (own > 1) return kFits + own;
  if (rank.host_bytes > 0) {
    const double host = Share(rank.host_bytes, node.host_memory_bytes);
    return host > 1 ? kFits + host : 1 + host;
  }
  const bool slow = !node.gpu && std::any_of(nodes.begin(), nodes.end(), [](const PlanNode& n) { return n.gpu; });
  return slow ? 1 + own : own;
}

double HostBytesPerToken(const Catalogue& catalogue, const ModelConfig& config, const PlanStage& stage) {
  double bytes = 0;
  for (const CatalogueEntry& entry : catalogue.entries) {
    if (!OnHost(entry, stage.last_layer, stage.host_expert_layers)) continue;
    bytes += static_cast<double>(entry.tensor.size_bytes) / static_cast<double>(entry.experts) *
             static_cast<double>(config.experts_used);
  }
  return bytes;
}

double HostSeconds(const Catalogue& catalogue, const ModelConfig& config, const PlanStage& stage,
                   const PlanNode& node) {
  const double bytes = HostBytesPerToken(catalogue, config, stage);
  return bytes / (kThreadBytesPerSecond * std::max(node.threads, 1)) +
         kCrossingSeconds * static_cast<double>(stage.host_expert_layers);
}

}  // namespace barn
