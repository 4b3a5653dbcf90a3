#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sharding/catalogue.h"
#include "sharding/model_config.h"
#include "sharding/plan.h"

namespace barn {

// The second tier of a GPU's node: its host's memory, for routed experts that the GPU has no room for. The host's
// processors compute them there, as the bus to a GPU moves fewer bytes in a second than they read.

// Whether a tensor of a stage whose layers end at last_layer lies with the host.
inline bool OnHost(const CatalogueEntry& entry, int64_t last_layer, int64_t host_expert_layers) {
  return entry.experts > 0 && entry.layer >= last_layer - host_expert_layers && entry.layer < last_layer;
}

// Bytes of routed experts: [layers].
std::vector<int64_t> ExpertBytesByLayer(const Catalogue& catalogue);

// Moves experts of a stage of one node to the host: those of as few layers as it takes, the last ones, or of all layers
// where even that does not suffice. Those of a node without host_memory_bytes stay. expert_bytes: as above.
void MoveExpertsToHost(std::span<const int64_t> expert_bytes, const PlanNode& node, PlanStage& stage);

// How full a node is with its part. Up to 1: the share of its memory. Up to kFits: 1 and the share of slower memory,
// which is the host's for experts beside a GPU and, where others have GPUs, all of a node of processors. Above: it does
// not fit.
inline constexpr double kFits = 2;
double Fullness(const PlanRank& rank, std::span<const PlanNode> nodes);

// What one token costs on the host, in a stage of one node: the experts that are read there, and for each layer the way
// down and up again.
double HostSeconds(const Catalogue& catalogue, const ModelConfig& config, const PlanStage& stage, const PlanNode& node);
// Bytes of experts that a token reads there.
double HostBytesPerToken(const Catalogue& catalogue, const ModelConfig& config, const PlanStage& stage);

}  // namespace barn
