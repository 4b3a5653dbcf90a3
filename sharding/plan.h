#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "sharding/catalogue.h"
#include "sharding/model_config.h"

namespace barn {

enum class KvElement { kF16, kF32 };

// A machine that may hold a part of the model.
struct PlanNode {
  std::string name;
  int64_t memory_bytes = 0;
  int threads = 1;
};

struct PlanOptions {
  int64_t context_tokens = 0;      // KV positions to reserve, over all sequences. 0: the planner chooses what fits, see plan.cc.
  KvElement kv = KvElement::kF16;
  int64_t step_tokens_max = 512;   // Rows of one step, for the activation scratch.
};

// Layers [first_layer, last_layer) on one node; stage order is pipeline order. The first stage holds the embedding, the last
// the output norm and head.
struct PlanStage {
  int node = 0;
  int64_t first_layer = 0;
  int64_t last_layer = 0;
  int64_t weights_bytes = 0;
  int64_t kv_bytes = 0;
  int64_t scratch_bytes = 0;
};

struct ShardPlan {
  std::vector<PlanStage> stages;
  int64_t context_tokens = 0;
  int64_t kv_block_tokens = 32;
  int64_t kv_blocks = 0;  // On every stage; context_tokens = kv_blocks * kv_block_tokens.
  KvElement kv = KvElement::kF16;
};

// Contiguous layer ranges for every node, in the given order, so that the fullest node (share of its memory) is as empty as
// possible; nodes that are not needed for memory still get layers in proportion. ResourceExhausted: it does not fit; the
// message names the shortfall in bytes.
absl::StatusOr<ShardPlan> PlanShards(const Catalogue& catalogue, const ModelConfig& config, std::span<const PlanNode> nodes,
                                     const PlanOptions& options);

// Names of the tensors that a stage of a plan reads. The token embedding is also the head of a model that ties them, so the
// last stage lists it too.
std::vector<const CatalogueEntry*> TensorsOfStage(const Catalogue& catalogue, const ShardPlan& plan, int stage);

}  // namespace barn
