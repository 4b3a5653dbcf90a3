#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "sharding/catalogue.h"
#include "sharding/model_config.h"
#include "sharding/rank_link.h"

namespace barn {

// A machine that may hold a part of the model. With a GPU, memory_bytes is the GPU's, and host_memory_bytes may hold
// routed experts beside it; threads are the host's.
struct PlanNode {
  std::string name;
  int64_t memory_bytes = 0;
  int threads = 1;
  std::string memory_domain = "";  // Nodes with the same text share a machine's memory; empty: nobody knows.
  bool gpu = false;
  int64_t host_memory_bytes = 0;
  RankLink link = {};  // Where link.missing is empty it may be a rank.
};

// What a plan shall be good at. kBoth: one stream where that gains much, and never at the cost of a model that fits.
enum class PlanObjective { kBoth, kLatency, kThroughput };

struct PlanOptions {
  // KV positions to reserve, over all sequences, rounded up to whole blocks. 0: the planner takes room for 4 sequences
  // of min(the model's training context, 4096) tokens, or as much of it as fits, at least min(training context, 512).
  int64_t context_tokens = 0;
  KvType kv = KvType::kF16;
  int64_t step_tokens_max = 512;  // Rows of one step, for the activation scratch.
  PlanObjective objective = PlanObjective::kBoth;
  bool remote = false;  // The files come over a network; ranks fetch whole tensors each, stages only theirs.
};

// One node's part of a stage.
struct PlanRank {
  int node = 0;
  int64_t weights_bytes = 0;
  int64_t kv_bytes = 0;
  int64_t scratch_bytes = 0;
  int64_t host_bytes = 0;  // Of experts in the host's memory, beside those of the GPU.

  int64_t total_bytes() const { return weights_bytes + kv_bytes + scratch_bytes; }
};

// Layers [first_layer, last_layer) on one node, or shared by several ranks on one machine (see ranks.h); stage order is
// pipeline order. The first stage holds the embedding, the last the output norm and head.
struct PlanStage {
  int64_t first_layer = 0;
  int64_t last_layer = 0;
  std::vector<PlanRank> ranks;
  int64_t host_expert_layers = 0;  // The last ones, whose routed experts the host holds and computes.
};

struct ShardPlan {
  std::vector<PlanStage> stages;
  int64_t context_tokens = 0;
  int64_t kv_block_tokens = 32;
  int64_t kv_blocks = 0;  // On every stage; context_tokens = kv_blocks * kv_block_tokens.
  KvType kv = KvType::kF16;
  double stream_tokens_per_s = 0;  // Predicted, of one stream; see speed.h.
  std::string reason = "";         // Why this form and not the other; empty for one node.
  std::string unused_reason = "";  // Why nodes are unused that could have layers; empty: there are none such.
};

// A pipeline, or all nodes as ranks of one stage when they share a machine's memory, the model can be cut so, it fits,
// and one stream is predicted to gain: at least 10 % (kBoth, below which the simpler form stays; never for remote
// files) or anything (kLatency). kThroughput: always the pipeline, whose stages overlap.
//
// The pipeline: contiguous layer ranges for every node, in the given order, so that the fullest node (share of its
// memory) is as empty as possible and the others are even below it. Every node gets a layer, but with more nodes than
// layers, where there is one stage for each layer, and but for slow nodes (faster_nodes.h): those are left out where
// the model does not fit with them, or fits without them, with as many tokens of KV, and one stream is predicted to be
// faster even if ways between stages took no time. kThroughput leaves none out that fits. A stage needs its weights,
// its KV and activation scratch:
//   scratch = 4 bytes * step_tokens_max * (largest layer's sum of product output rows, each routed expert once, + 4 *
//   width), on the last stage plus 4 bytes * vocabulary * min(step_tokens_max, 32) for logits; on a GPU plus what
//   gpu_memory.h counts.
// A tied embedding counts on the first and on the last stage (once where they are the same). Tensors outside the layers
// that are neither embedding, norm nor head (rope factors) go to every stage. Memory of GPUs is filled first: what they
// have no room for goes to nodes of processors and, routed experts, to the hosts' memory (tiers.h), both used as evenly
// as possible; a context that the planner chooses by itself gives way before experts do. ResourceExhausted: it does not
// fit; the message names the shortfall in bytes. InvalidArgument: no nodes, a node without memory, options out of
// bounds.
absl::StatusOr<ShardPlan> PlanShards(const Catalogue& catalogue, const ModelConfig& config,
                                     std::span<const PlanNode> nodes, const PlanOptions& options);

// Names of the tensors that a stage of a plan reads. The token embedding is also the head of a model that ties them, so
// the last stage lists it too.
std::vector<const CatalogueEntry*> TensorsOfStage(const Catalogue& catalogue, const ShardPlan& plan, int stage);

}  // namespace barn
