#pragma once

#include <cstdint>
#include <span>

#include "sharding/catalogue.h"
#include "sharding/model_config.h"
#include "sharding/plan.h"

namespace barn {

// What one generating stream costs, from bytes that one token reads, until nodes are measured when they join.

// Weights that one thread reads in a second. A core of a server of 2022 to 2025 does 10 to 25 GB/s; only its relation
// to the two constants below matters for a choice.
inline constexpr double kThreadBytesPerSecond = 12e9;
// Activations of one token from stage to stage by a gRPC stream on one machine or a fast network.
inline constexpr double kHopSeconds = 60e-6;
// One exchange between ranks in shared memory: 1.5 us for 8 kB both ways, the rest is waiting for the slower rank.
inline constexpr double kExchangeSeconds = 5e-6;

// What a node reads of weights in its own memory.
double ReadBytesPerSecond(const PlanNode& node);

// Predicted seconds per token of one stream under a plan, whatever its form, while its sequence is short. Nodes with a
// GPU count as gpu_speed.h has it.
double StreamSecondsPerToken(const Catalogue& catalogue, const ModelConfig& config, const ShardPlan& plan,
                             std::span<const PlanNode> nodes);

}  // namespace barn
