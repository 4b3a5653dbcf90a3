#include "sharding/speed.h"

#include <algorithm>

#include "sharding/gpu_speed.h"
#include "sharding/ranks.h"

namespace barn {
namespace {

// Bytes of a tensor that one token reads on a rank, when the tensor's layer is there.
double TokenBytes(const CatalogueEntry& entry, const ModelConfig& config, bool tied_head, int rank, int ranks) {
  const auto bytes = static_cast<double>(RankBytes(entry, config, rank, ranks));
  if (entry.experts > 0) return bytes * static_cast<double>(config.experts_used) / static_cast<double>(entry.experts);
  if (entry.tensor.name == "token_embd.weight") return tied_head ? bytes / ranks : 0;  // A row of it is looked up.
  return bytes;
}

// Of a row as wide as the model, of which the other ranks bring their shares.
double GpuExchangeSeconds(const ModelConfig& config, int ranks) {
  const double received = 4.0 * static_cast<double>(config.width) * (ranks - 1) / ranks;
  return kNcclExchangeSeconds + received / kPcieBytesPerSecond;
}

}  // namespace

double ReadBytesPerSecond(const PlanNode& node) {
  if (!node.gpu) return kThreadBytesPerSecond * std::max(node.threads, 1);
  return kReachableBandwidth *
         (node.link.read_bytes_per_s > 0 ? node.link.read_bytes_per_s : kUnknownReadBytesPerSecond);
}

double StreamSecondsPerToken(const Catalogue& catalogue, const ModelConfig& config, const ShardPlan& plan,
                             std::span<const PlanNode> nodes) {
  double seconds = kHopSeconds * static_cast<double>(plan.stages.size() - 1);
  for (const PlanStage& stage : plan.stages) {
    const auto ranks = static_cast<int>(stage.ranks.size());
    double slowest = 0;
    for (int rank = 0; rank < ranks; ++rank) {
      double bytes = 0;
      for (const CatalogueEntry& entry : catalogue.entries) {
        const bool here = entry.layer >= 0 ? entry.layer >= stage.first_layer && entry.layer < stage.last_layer
                                           : stage.last_layer == catalogue.layers;
        bytes += here ? TokenBytes(entry, config, catalogue.tied_head, rank, ranks) : 0;
      }
      const PlanNode& node = nodes[static_cast<size_t>(stage.ranks[rank].node)];
      slowest = std::max(
          slowest, node.gpu ? GpuSeconds(catalogue, config, stage, node, bytes) : bytes / ReadBytesPerSecond(node));
    }
    seconds += slowest;
    if (ranks > 1) {
      const bool gpus = nodes[static_cast<size_t>(stage.ranks.front().node)].gpu;
      const double each = gpus ? GpuExchangeSeconds(config, ranks) : kExchangeSeconds;
      seconds += each * static_cast<double>(ExchangesPerStep(catalogue));
    }
  }
  return seconds;
}

}  // namespace barn
