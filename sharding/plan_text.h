#pragma once

#include <span>
#include <string>

#include "nlohmann/json.hpp"
#include "sharding/plan.h"

namespace barn {

// What `barn plan` prints: a line for each stage with its layers, memory and share of the node. `nodes` are the ones
// that the plan was made for; nodes without layers are listed as unused.
std::string PlanText(const ShardPlan& plan, std::span<const PlanNode> nodes);

// The last line of that: which nodes have no layers, and why. Empty: all have some.
std::string UnusedText(const ShardPlan& plan, std::span<const PlanNode> nodes);

// The same as data. Keys: context_tokens, kv_block_tokens, kv_blocks, kv ("f16" or "f32"), stages [{node, memory_bytes,
// first_layer, last_layer (exclusive), rank, ranks, weights_bytes, kv_bytes, scratch_bytes, total_bytes,
// memory_share}], one for each rank, unused_nodes, unused_reason, reason (why ranks or a pipeline),
// stream_tokens_per_s (predicted).
nlohmann::json PlanJson(const ShardPlan& plan, std::span<const PlanNode> nodes);

}  // namespace barn
