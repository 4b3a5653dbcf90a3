#include "sharding/plan.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/str_format.h"
#include "kernels/check.h"
#include "proto/base/status.h"
#include "sharding/byte_text.h"
#include "sharding/faster_nodes.h"
#include "sharding/gpu_memory.h"
#include "sharding/gpu_speed.h"
#include "sharding/limits.h"
#include "sharding/placement.h"
#include "sharding/ranks.h"
#include "sharding/speed.h"
#include "sharding/tiers.h"

namespace barn {
namespace {

constexpr int64_t kKvBlockTokens = 32;
constexpr int64_t kStepTokensMax = 65536;
constexpr size_t kNodesMax = 256;
constexpr double kRanksGainMin = 1.1;  // Below this the simpler form is kept.
constexpr int64_t kLogitRows = 32;     // The head's product runs over at most so many rows at a time.

// The context that the planner chooses by itself: room for so many sequences of at most so many tokens.
constexpr int64_t kChosenSequences = 4;
constexpr int64_t kChosenSequenceTokens = 4096;
constexpr int64_t kChosenTokensMin = 512;  // Below this a model is of little use, so it counts as not fitting.

int64_t CeilDiv(int64_t value, int64_t divisor) { return (value + divisor - 1) / divisor; }

// Where a tensor outside the layers is needed.
bool OnEveryStage(const CatalogueEntry& entry) { return entry.layer < 0 && entry.role == TensorRole::kOther; }
bool OnFirstStage(const CatalogueEntry& entry) {
  return entry.role == TensorRole::kEmbedding ||
         (entry.layer < 0 && entry.role == TensorRole::kNorm && !entry.tensor.name.starts_with("output_norm"));
}
bool OnLastStage(const CatalogueEntry& entry, bool tied_head) {
  return entry.role == TensorRole::kHead || (entry.layer < 0 && entry.tensor.name.starts_with("output_norm")) ||
         (tied_head && entry.tensor.name == "token_embd.weight");
}

bool OnStage(const Catalogue& catalogue, const CatalogueEntry& entry, int64_t first, int64_t last) {
  if (entry.layer >= 0) return entry.layer >= first && entry.layer < last;
  return OnEveryStage(entry) || (first == 0 && OnFirstStage(entry)) ||
         (last == catalogue.layers && OnLastStage(entry, catalogue.tied_head));
}

// Bytes of a stage [first, last) in constant time, from sums over layers.
class StageCost {
 public:
  StageCost(const Catalogue& catalogue, const ModelConfig& config, std::span<const PlanNode> nodes,
            const PlanOptions& options);

  PlanStage Stage(int node, int64_t first, int64_t last, int64_t context_tokens) const {
    PlanRank alone{.node = node};
    const bool is_first = first == 0;
    const bool is_last = last == layers_;
    alone.weights_bytes = weights_[Index(last)] - weights_[Index(first)] + every_bytes_;
    if (is_first) alone.weights_bytes += first_bytes_;
    if (is_last) alone.weights_bytes += last_bytes_;
    if (is_first && is_last) alone.weights_bytes -= shared_bytes_;
    alone.kv_bytes = (kv_token_bytes_[Index(last)] - kv_token_bytes_[Index(first)]) * context_tokens;
    alone.scratch_bytes = scratch_bytes_ + (is_last ? logits_bytes_ : 0) + WorkBytes(node, context_tokens, 1);
    return {.first_layer = first, .last_layer = last, .ranks = {alone}};
  }

  // The same with experts in the memory of the host where the node's own does not suffice.
  PlanStage TieredStage(int node, std::span<const PlanNode> nodes, int64_t first, int64_t last,
                        int64_t context_tokens) const {
    PlanStage stage = Stage(node, first, last, context_tokens);
    MoveExpertsToHost(expert_bytes_, nodes[static_cast<size_t>(node)], stage);
    return stage;
  }

  // All layers, shared by ranks on nodes 0, 1, ...
  PlanStage SharedStage(int ranks, int64_t context_tokens) const {
    PlanStage stage = Stage(0, 0, layers_, context_tokens);
    stage.ranks.clear();
    for (int rank = 0; rank < ranks; ++rank) {
      PlanRank share{.node = rank,
                     .scratch_bytes = scratch_bytes_ + logits_bytes_ + WorkBytes(rank, context_tokens, ranks)};
      for (const KvShape& shape : config_.kv) share.kv_bytes += RankKvBytes(shape, kv_, ranks) * context_tokens;
      for (const CatalogueEntry& entry : catalogue_.entries) {
        if (OnStage(catalogue_, entry, 0, layers_)) share.weights_bytes += RankBytes(entry, config_, rank, ranks);
      }
      stage.ranks.push_back(share);
    }
    return stage;
  }

 private:
  static size_t Index(int64_t layer) { return static_cast<size_t>(layer); }
  int64_t WorkBytes(int node, int64_t context_tokens, int ranks) const {
    return nodes_[static_cast<size_t>(node)].gpu ? gpu_work_.Bytes(context_tokens, ranks) : 0;
  }

  const Catalogue& catalogue_;
  const ModelConfig& config_;
  const std::span<const PlanNode> nodes_;
  const GpuWork gpu_work_;
  const KvType kv_;
  const int64_t layers_;
  std::vector<int64_t> weights_;         // [layers + 1], running sums
  std::vector<int64_t> kv_token_bytes_;  // [layers + 1], running sums
  std::vector<int64_t> expert_bytes_;    // [layers]
  int64_t every_bytes_ = 0;
  int64_t first_bytes_ = 0;
  int64_t last_bytes_ = 0;
  int64_t shared_bytes_ = 0;  // Counted in first_bytes_ and in last_bytes_: the embedding of a tied head.
  int64_t scratch_bytes_ = 0;
  int64_t logits_bytes_ = 0;
};

// f32 values that one row of a step needs inside one layer at most: the output of every product of that layer, each
// routed expert once, and four rows of the model's width (residual, normalized input, attention output, feed-forward
// output).
int64_t ActivationValuesPerRow(const Catalogue& catalogue, const ModelConfig& config) {
  constexpr int64_t kRowValuesMax = int64_t{1} << 32;  // Bounds what a hostile shape makes of the sum.
  std::vector<int64_t> values(static_cast<size_t>(catalogue.layers));
  for (const CatalogueEntry& entry : catalogue.entries) {
    if (entry.layer < 0 || entry.layer >= catalogue.layers || entry.tensor.dim_count < 2) continue;
    const int64_t per_matrix = entry.experts > 0 ? std::max<int64_t>(config.experts_used, 1) : entry.tensor.dims[2];
    int64_t rows = 0;
    if (__builtin_mul_overflow(entry.tensor.dims[1], per_matrix, &rows)) rows = kRowValuesMax;
    int64_t& sum = values[static_cast<size_t>(entry.layer)];
    sum = std::min(sum + std::min(rows, kRowValuesMax), kRowValuesMax);
  }
  return *std::max_element(values.begin(), values.end()) + 4 * config.width;
}

StageCost::StageCost(const Catalogue& catalogue, const ModelConfig& config, std::span<const PlanNode> nodes,
                     const PlanOptions& options)
    : catalogue_(catalogue),
      config_(config),
      nodes_(nodes),
      gpu_work_(GpuWorkOf(catalogue, config, options.step_tokens_max)),
      kv_(options.kv),
      layers_(catalogue.layers),
      expert_bytes_(ExpertBytesByLayer(catalogue)) {
  weights_.push_back(0);
  kv_token_bytes_.push_back(0);
  for (int64_t layer = 0; layer < layers_; ++layer) {
    weights_.push_back(weights_.back() + catalogue.LayerBytes(layer));
    kv_token_bytes_.push_back(kv_token_bytes_.back() + config.kv[Index(layer)].bytes_per_token(options.kv));
  }
  for (const CatalogueEntry& entry : catalogue.entries) {
    const bool on_first = OnFirstStage(entry);
    const bool on_last = OnLastStage(entry, catalogue.tied_head);
    if (OnEveryStage(entry)) every_bytes_ += entry.tensor.size_bytes;
    if (on_first) first_bytes_ += entry.tensor.size_bytes;
    if (on_last) last_bytes_ += entry.tensor.size_bytes;
    if (on_first && on_last) shared_bytes_ += entry.tensor.size_bytes;
  }
  scratch_bytes_ = ActivationValuesPerRow(catalogue, config) * options.step_tokens_max * int64_t{sizeof(float)};
  logits_bytes_ = config.vocabulary * std::min(options.step_tokens_max, kLogitRows) * int64_t{sizeof(float)};
}

struct Attempt {
  std::vector<PlanStage> stages;
  double fullest = 0;  // See Fullness.
};

// Places the model with a KV cache of so many tokens.
using Place = std::function<Attempt(int64_t context_tokens)>;

Attempt PlacePipeline(const StageCost& cost, int64_t layers, std::span<const PlanNode> nodes, int64_t context_tokens) {
  const Placement placement =
      PlaceRanges(layers, static_cast<int>(nodes.size()), [&](int node, int64_t first, int64_t last) {
        return Fullness(cost.TieredStage(node, nodes, first, last, context_tokens).ranks.front(), nodes);
      });
  Attempt attempt;
  attempt.fullest = placement.fullest;
  for (const PlacedRange& range : placement.ranges) {
    attempt.stages.push_back(cost.TieredStage(range.bin, nodes, range.first, range.last, context_tokens));
  }
  return attempt;
}

Attempt PlaceRanks(const StageCost& cost, std::span<const PlanNode> nodes, int64_t context_tokens) {
  Attempt attempt{.stages = {cost.SharedStage(static_cast<int>(nodes.size()), context_tokens)}, .fullest = 0};
  for (const PlanRank& rank : attempt.stages.front().ranks) {
    attempt.fullest = std::max(attempt.fullest, Fullness(rank, nodes));
  }
  return attempt;
}

// What a node lacks in its own memory and, for experts, in its host's.
int64_t MissingBytes(const PlanRank& rank, std::span<const PlanNode> nodes) {
  const PlanNode& node = nodes[static_cast<size_t>(rank.node)];
  return std::max<int64_t>(rank.total_bytes() - node.memory_bytes, 0) +
         std::max<int64_t>(rank.host_bytes - node.host_memory_bytes, 0);
}

std::string TiersText(const PlanRank& rank, const PlanNode& node) {
  std::string text = absl::StrFormat("%s needed of %s", ByteText(rank.total_bytes()), ByteText(node.memory_bytes));
  if (node.host_memory_bytes > 0) {
    absl::StrAppendFormat(&text, " on the GPU and, for experts, %s of %s on its host", ByteText(rank.host_bytes),
                          ByteText(node.host_memory_bytes));
  }
  return text;
}

// What is missing in the best placement, over all nodes, and which node is the fullest.
absl::Status DoesNotFit(const Attempt& attempt, std::span<const PlanNode> nodes, int64_t context_tokens) {
  int64_t missing_bytes = 0;
  int64_t weights_bytes = 0;
  int64_t kv_bytes = 0;
  int64_t scratch_bytes = 0;
  const PlanRank* worst = &attempt.stages.front().ranks.front();
  const auto excess = [&](const PlanRank& rank) {
    return rank.total_bytes() - nodes[static_cast<size_t>(rank.node)].memory_bytes;
  };
  for (const PlanStage& stage : attempt.stages) {
    for (const PlanRank& rank : stage.ranks) {
      missing_bytes += MissingBytes(rank, nodes);
      weights_bytes += rank.weights_bytes + rank.host_bytes;
      kv_bytes += rank.kv_bytes;
      scratch_bytes += rank.scratch_bytes;
      const int64_t more = MissingBytes(rank, nodes) - MissingBytes(*worst, nodes);
      if (more > 0 || (more == 0 && excess(rank) > excess(*worst))) worst = &rank;
    }
  }
  const PlanNode& node = nodes[static_cast<size_t>(worst->node)];
  return absl::ResourceExhaustedError(absl::StrFormat(
      "the model does not fit: %d bytes (%s) of memory are missing; weights take %s, KV for %d tokens %s, activations "
      "%s; "
      "the fullest of %d nodes is %s with %s",
      missing_bytes, ByteText(missing_bytes), ByteText(weights_bytes), context_tokens, ByteText(kv_bytes),
      ByteText(scratch_bytes), nodes.size(), node.name, TiersText(*worst, node)));
}

absl::Status CheckArguments(const Catalogue& catalogue, const ModelConfig& config, std::span<const PlanNode> nodes,
                            const PlanOptions& options) {
  if (nodes.empty() || nodes.size() > kNodesMax) {
    return absl::InvalidArgumentError(absl::StrFormat("%d nodes; a plan needs 1 to %d", nodes.size(), kNodesMax));
  }
  for (const PlanNode& node : nodes) {
    if (node.memory_bytes > 0 && node.host_memory_bytes >= 0) continue;
    return absl::InvalidArgumentError(absl::StrFormat("node %s has %d bytes of memory, and %d of its host's", node.name,
                                                      node.memory_bytes, node.host_memory_bytes));
  }
  if (catalogue.layers < 1 || catalogue.entries.empty()) return absl::InvalidArgumentError("the model has no layers");
  if (catalogue.layers != config.layers || config.kv.size() != static_cast<size_t>(config.layers)) {
    return absl::InvalidArgumentError(absl::StrFormat("the catalogue has %d layers, the configuration %d with %d of KV",
                                                      catalogue.layers, config.layers, config.kv.size()));
  }
  if (options.context_tokens < 0 || options.context_tokens > kContextTokensMax) {
    return absl::InvalidArgumentError(
        absl::StrFormat("a context of %d tokens is not 1 to %d", options.context_tokens, kContextTokensMax));
  }
  if (options.step_tokens_max < 1 || options.step_tokens_max > kStepTokensMax) {
    return absl::InvalidArgumentError(
        absl::StrFormat("steps of %d tokens are not 1 to %d", options.step_tokens_max, kStepTokensMax));
  }
  return absl::OkStatus();
}

// The largest number of KV blocks up to the wish that fits, in fast memory where any number does; the smallest useful
// number where none does.
int64_t ChooseBlocks(const Place& place, const ModelConfig& config) {
  const int64_t sequence_tokens = std::min(config.context_tokens, kChosenSequenceTokens);
  int64_t blocks_min = CeilDiv(std::min(sequence_tokens, kChosenTokensMin), kKvBlockTokens);
  int64_t blocks_max = CeilDiv(sequence_tokens * kChosenSequences, kKvBlockTokens);
  const double full = place(blocks_min * kKvBlockTokens).fullest <= 1 ? 1 : kFits;
  while (blocks_min < blocks_max) {
    const int64_t middle = (blocks_min + blocks_max + 1) / 2;
    if (place(middle * kKvBlockTokens).fullest <= full) {
      blocks_min = middle;
    } else {
      blocks_max = middle - 1;
    }
  }
  return blocks_min;
}

absl::StatusOr<ShardPlan> PlanForm(const Place& place, const Catalogue& catalogue, const ModelConfig& config,
                                   std::span<const PlanNode> nodes, const PlanOptions& options) {
  ShardPlan plan;
  plan.kv_block_tokens = kKvBlockTokens;
  plan.kv = options.kv;
  plan.kv_blocks =
      options.context_tokens > 0 ? CeilDiv(options.context_tokens, kKvBlockTokens) : ChooseBlocks(place, config);
  plan.context_tokens = plan.kv_blocks * kKvBlockTokens;
  Attempt attempt = place(plan.context_tokens);
  if (attempt.fullest > kFits) return DoesNotFit(attempt, nodes, plan.context_tokens);
  plan.stages = std::move(attempt.stages);
  plan.stream_tokens_per_s = 1 / StreamSecondsPerToken(catalogue, config, plan, nodes);
  return plan;
}

// Whether the nodes can exchange with one another as ranks do.
absl::Status CheckLinks(std::span<const PlanNode> nodes) {
  const PlanNode& first = nodes.front();
  for (const PlanNode& node : nodes) {
    if (!node.link.missing.empty()) {
      return absl::UnimplementedError(absl::StrFormat("%s cannot be a rank: %s", node.name, node.link.missing));
    }
  }
  std::map<std::string_view, const PlanNode*> devices;
  for (const PlanNode& node : nodes) {
    if (&node != &first && (node.memory_domain.empty() || node.memory_domain != first.memory_domain)) {
      return absl::UnimplementedError(
          absl::StrFormat("%s and %s do not share a machine's memory", first.name, node.name));
    }
    if (node.link.transport != first.link.transport) {
      return absl::UnimplementedError(absl::StrFormat("%s exchanges by %s, %s by %s", first.name, first.link.transport,
                                                      node.name, node.link.transport));
    }
    const auto [known, is_new] = devices.emplace(node.link.device, &node);
    if (!is_new && !node.link.device.empty()) {
      return absl::UnimplementedError(absl::StrFormat("%s and %s compute on one GPU", known->second->name, node.name));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<ShardPlan> PlanRanks(const StageCost& cost, const Catalogue& catalogue, const ModelConfig& config,
                                    std::span<const PlanNode> nodes, const PlanOptions& options) {
  BARN_RETURN_IF_ERROR(CheckLinks(nodes));
  BARN_RETURN_IF_ERROR(CheckRanks(catalogue, config, static_cast<int>(nodes.size())));
  return PlanForm([&](int64_t tokens) { return PlaceRanks(cost, nodes, tokens); }, catalogue, config, nodes, options);
}

// Of the two forms of a plan for several nodes, the one that the objective wants.
ShardPlan Choose(ShardPlan pipeline, absl::StatusOr<ShardPlan> ranks, const PlanOptions& options) {
  const PlanObjective objective = options.objective;
  if (!ranks.ok()) {
    pipeline.reason = absl::StrFormat("a pipeline: %s", ranks.status().message());
    return pipeline;
  }
  const double gain = ranks->stream_tokens_per_s / pipeline.stream_tokens_per_s;
  const std::string numbers = absl::StrFormat("one stream is predicted at %.3g tokens/s with ranks, %.3g in a pipeline",
                                              ranks->stream_tokens_per_s, pipeline.stream_tokens_per_s);
  if (objective == PlanObjective::kThroughput) {
    pipeline.reason = absl::StrFormat("a pipeline, for throughput; %s", numbers);
    return pipeline;
  }
  if (options.remote && objective == PlanObjective::kBoth) {
    pipeline.reason = absl::StrFormat("a pipeline: every rank would fetch all of a remote model; %s", numbers);
    return pipeline;
  }
  if (gain < (objective == PlanObjective::kLatency ? 1.0 : kRanksGainMin)) {
    pipeline.reason = absl::StrFormat("a pipeline; %s", numbers);
    return pipeline;
  }
  ranks->reason = absl::StrFormat("ranks that share every layer; %s", numbers);
  return *std::move(ranks);
}

// All nodes, but with more of them than layers.
absl::StatusOr<ShardPlan> PlanAll(const Catalogue& catalogue, const ModelConfig& config,
                                  std::span<const PlanNode> nodes, const PlanOptions& options) {
  const StageCost cost(catalogue, config, nodes, options);
  const Place place = [&](int64_t tokens) { return PlacePipeline(cost, config.layers, nodes, tokens); };
  BARN_ASSIGN_OR_RETURN(ShardPlan pipeline, PlanForm(place, catalogue, config, nodes, options));
  if (nodes.size() == 1) return pipeline;
  return Choose(std::move(pipeline), PlanRanks(cost, catalogue, config, nodes, options), options);
}

// Of one token of one stream, without the way from stage to stage.
double ComputeSeconds(const ShardPlan& plan) {
  return 1 / plan.stream_tokens_per_s - kHopSeconds * static_cast<double>(plan.stages.size() - 1);
}

// Whether a plan without slow nodes is worth more than one with them.
bool IsBetter(const ShardPlan& without, const ShardPlan& with, const PlanOptions& options) {
  return options.objective != PlanObjective::kThroughput && without.context_tokens >= with.context_tokens &&
         ComputeSeconds(with) > ComputeSeconds(without);
}

}  // namespace

absl::StatusOr<ShardPlan> PlanShards(const Catalogue& catalogue, const ModelConfig& config,
                                     std::span<const PlanNode> nodes, const PlanOptions& options) {
  BARN_RETURN_IF_ERROR(CheckArguments(catalogue, config, nodes, options));
  const absl::StatusOr<ShardPlan> all = PlanAll(catalogue, config, nodes, options);
  absl::StatusOr<ShardPlan> best = all;
  for (const std::vector<int>& group : FasterNodes(nodes)) {
    std::vector<PlanNode> faster;
    for (const int node : group) faster.push_back(nodes[static_cast<size_t>(node)]);
    absl::StatusOr<ShardPlan> plan = PlanAll(catalogue, config, faster, options);
    if (!plan.ok() || (best.ok() && !IsBetter(*plan, *best, options))) continue;
    for (PlanStage& stage : plan->stages) {
      for (PlanRank& rank : stage.ranks) rank.node = group[static_cast<size_t>(rank.node)];
    }
    plan->unused_reason = all.ok()
                              ? absl::StrFormat("one stream is predicted at %.3g tokens/s without, %.3g with all nodes",
                                                plan->stream_tokens_per_s, all->stream_tokens_per_s)
                              : "with all nodes the model does not fit";
    best = std::move(plan);
  }
  return best;
}

std::vector<const CatalogueEntry*> TensorsOfStage(const Catalogue& catalogue, const ShardPlan& plan, int stage) {
  BARN_CHECK(stage >= 0 && stage < static_cast<int>(plan.stages.size()));
  const PlanStage& range = plan.stages[static_cast<size_t>(stage)];
  std::vector<const CatalogueEntry*> tensors;
  for (const CatalogueEntry& entry : catalogue.entries) {
    if (OnStage(catalogue, entry, range.first_layer, range.last_layer)) tensors.push_back(&entry);
  }
  return tensors;
}

}  // namespace barn
