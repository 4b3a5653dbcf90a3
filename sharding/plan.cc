#include "sharding/plan.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/str_format.h"
#include "kernels/check.h"
#include "proto/base/status.h"
#include "sharding/byte_text.h"
#include "sharding/limits.h"
#include "sharding/placement.h"

namespace barn {
namespace {

constexpr int64_t kKvBlockTokens = 32;
constexpr int64_t kStepTokensMax = 65536;
constexpr size_t kNodesMax = 256;
constexpr int64_t kLogitRows = 32;  // The head's product runs over at most so many rows at a time.

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
  StageCost(const Catalogue& catalogue, const ModelConfig& config, const PlanOptions& options);

  PlanStage Stage(int node, int64_t first, int64_t last, int64_t context_tokens) const {
    PlanStage stage{.node = node, .first_layer = first, .last_layer = last};
    const bool is_first = first == 0;
    const bool is_last = last == layers_;
    stage.weights_bytes = weights_[Index(last)] - weights_[Index(first)] + every_bytes_;
    if (is_first) stage.weights_bytes += first_bytes_;
    if (is_last) stage.weights_bytes += last_bytes_;
    if (is_first && is_last) stage.weights_bytes -= shared_bytes_;
    stage.kv_bytes = (kv_token_bytes_[Index(last)] - kv_token_bytes_[Index(first)]) * context_tokens;
    stage.scratch_bytes = scratch_bytes_ + (is_last ? logits_bytes_ : 0);
    return stage;
  }

 private:
  static size_t Index(int64_t layer) { return static_cast<size_t>(layer); }

  const int64_t layers_;
  std::vector<int64_t> weights_;         // [layers + 1], running sums
  std::vector<int64_t> kv_token_bytes_;  // [layers + 1], running sums
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

StageCost::StageCost(const Catalogue& catalogue, const ModelConfig& config, const PlanOptions& options)
    : layers_(catalogue.layers) {
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

int64_t StageBytes(const PlanStage& stage) { return stage.weights_bytes + stage.kv_bytes + stage.scratch_bytes; }

// A share of 1 or below always means that the bytes fit, also where a double cannot tell the two apart.
double Share(const PlanStage& stage, const PlanNode& node) {
  const double share = static_cast<double>(StageBytes(stage)) / static_cast<double>(node.memory_bytes);
  return StageBytes(stage) > node.memory_bytes ? std::max(share, std::nextafter(1.0, 2.0)) : share;
}

struct Attempt {
  std::vector<PlanStage> stages;
  double fullest = 0;
};

Attempt Place(const StageCost& cost, int64_t layers, std::span<const PlanNode> nodes, int64_t context_tokens) {
  const Placement placement =
      PlaceRanges(layers, static_cast<int>(nodes.size()), [&](int node, int64_t first, int64_t last) {
        return Share(cost.Stage(node, first, last, context_tokens), nodes[static_cast<size_t>(node)]);
      });
  Attempt attempt;
  attempt.fullest = placement.fullest;
  for (const PlacedRange& range : placement.ranges) {
    attempt.stages.push_back(cost.Stage(range.bin, range.first, range.last, context_tokens));
  }
  return attempt;
}

// What is missing in the best placement, over all nodes, and which node is the fullest.
absl::Status DoesNotFit(const Attempt& attempt, std::span<const PlanNode> nodes, int64_t context_tokens) {
  int64_t missing_bytes = 0;
  int64_t weights_bytes = 0;
  int64_t kv_bytes = 0;
  int64_t scratch_bytes = 0;
  const PlanStage* worst = &attempt.stages.front();
  const auto excess = [&](const PlanStage& stage) {
    return StageBytes(stage) - nodes[static_cast<size_t>(stage.node)].memory_bytes;
  };
  for (const PlanStage& stage : attempt.stages) {
    missing_bytes += std::max<int64_t>(excess(stage), 0);
    weights_bytes += stage.weights_bytes;
    kv_bytes += stage.kv_bytes;
    scratch_bytes += stage.scratch_bytes;
    if (excess(stage) > excess(*worst)) worst = &stage;
  }
  const PlanNode& node = nodes[static_cast<size_t>(worst->node)];
  return absl::ResourceExhaustedError(absl::StrFormat(
      "the model does not fit: %d bytes (%s) of memory are missing; weights take %s, KV for %d tokens %s, activations "
      "%s; "
      "the fullest of %d nodes is %s with %s needed of %s",
      missing_bytes, ByteText(missing_bytes), ByteText(weights_bytes), context_tokens, ByteText(kv_bytes),
      ByteText(scratch_bytes), nodes.size(), node.name, ByteText(StageBytes(*worst)), ByteText(node.memory_bytes)));
}

absl::Status CheckArguments(const Catalogue& catalogue, const ModelConfig& config, std::span<const PlanNode> nodes,
                            const PlanOptions& options) {
  if (nodes.empty() || nodes.size() > kNodesMax) {
    return absl::InvalidArgumentError(absl::StrFormat("%d nodes; a plan needs 1 to %d", nodes.size(), kNodesMax));
  }
  for (const PlanNode& node : nodes) {
    if (node.memory_bytes > 0) continue;
    return absl::InvalidArgumentError(absl::StrFormat("node %s has %d bytes of memory", node.name, node.memory_bytes));
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

// The largest number of KV blocks up to the wish that fits; the smallest useful number where none does.
int64_t ChooseBlocks(const StageCost& cost, const ModelConfig& config, std::span<const PlanNode> nodes) {
  const int64_t sequence_tokens = std::min(config.context_tokens, kChosenSequenceTokens);
  int64_t blocks_min = CeilDiv(std::min(sequence_tokens, kChosenTokensMin), kKvBlockTokens);
  int64_t blocks_max = CeilDiv(sequence_tokens * kChosenSequences, kKvBlockTokens);
  while (blocks_min < blocks_max) {
    const int64_t middle = (blocks_min + blocks_max + 1) / 2;
    if (Place(cost, config.layers, nodes, middle * kKvBlockTokens).fullest <= 1.0) {
      blocks_min = middle;
    } else {
      blocks_max = middle - 1;
    }
  }
  return blocks_min;
}

}  // namespace

absl::StatusOr<ShardPlan> PlanShards(const Catalogue& catalogue, const ModelConfig& config,
                                     std::span<const PlanNode> nodes, const PlanOptions& options) {
  BARN_RETURN_IF_ERROR(CheckArguments(catalogue, config, nodes, options));
  const StageCost cost(catalogue, config, options);
  ShardPlan plan;
  plan.kv_block_tokens = kKvBlockTokens;
  plan.kv = options.kv;
  plan.kv_blocks =
      options.context_tokens > 0 ? CeilDiv(options.context_tokens, kKvBlockTokens) : ChooseBlocks(cost, config, nodes);
  plan.context_tokens = plan.kv_blocks * kKvBlockTokens;
  Attempt attempt = Place(cost, config.layers, nodes, plan.context_tokens);
  if (attempt.fullest > 1.0) return DoesNotFit(attempt, nodes, plan.context_tokens);
  plan.stages = std::move(attempt.stages);
  return plan;
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
