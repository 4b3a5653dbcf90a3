#include <algorithm>
#include <string>

#include "absl/strings/str_format.h"
#include "proto/base/status.h"
#include "sharding/limits.h"
#include "sharding/ranks.h"
#include "worker/model/architectures.h"
#include "worker/model/loaded_slice.h"

// How a slice comes to be: what its options may be, its tensors, its memory.

namespace barn {
namespace {

StepBounds LimitsOf(const SliceOptions& options, const ModelSpec& spec) {
  return {.width = spec.width,
          .vocabulary = spec.vocabulary,
          .context_tokens = spec.context_tokens,
          .kv_blocks = options.kv_blocks,
          .kv_block_tokens = options.kv_block_tokens,
          .step_tokens_max = options.step_tokens_max,
          .is_first = options.is_first};
}

absl::Status CheckOptions(const SliceOptions& options, const ModelSpec& spec) {
  const auto layers = static_cast<int64_t>(spec.layers.size());
  if (options.first_layer < 0 || options.first_layer >= options.last_layer || options.last_layer > layers) {
    return absl::InvalidArgumentError(
        absl::StrFormat("layers [%d, %d) of a model with %d layers", options.first_layer, options.last_layer, layers));
  }
  if (options.is_first != (options.first_layer == 0) || options.is_last != (options.last_layer == layers)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("layers [%d, %d) of %d cannot be %s and %s", options.first_layer, options.last_layer, layers,
                        options.is_first ? "first" : "not first", options.is_last ? "last" : "not last"));
  }
  if (options.host_expert_layers < 0 || options.host_expert_layers > options.last_layer - options.first_layer ||
      (options.host_expert_layers > 0 && (options.host_device == nullptr || options.ranks > 1))) {
    return absl::InvalidArgumentError(
        absl::StrFormat("experts of %d layers with the host, of layers [%d, %d) and %d ranks%s",
                        options.host_expert_layers, options.first_layer, options.last_layer, options.ranks,
                        options.host_device == nullptr ? ", but no processors were given to compute them" : ""));
  }
  constexpr int64_t kStepTokensMax = 65536;
  if (options.step_tokens_max < 1 || options.step_tokens_max > kStepTokensMax) {
    return absl::InvalidArgumentError(
        absl::StrFormat("steps of up to %d rows, want 1 to %d", options.step_tokens_max, kStepTokensMax));
  }
  if (options.context_tokens < 0 || options.context_tokens > kContextTokensMax) {
    return absl::InvalidArgumentError(
        absl::StrFormat("a context of %d tokens, want up to %d", options.context_tokens, kContextTokensMax));
  }
  if (options.ranks < 1 || options.ranks > kRanksMax || options.rank < 0 || options.rank >= options.ranks) {
    return absl::InvalidArgumentError(absl::StrFormat("rank %d of %d", options.rank, options.ranks));
  }
  return absl::OkStatus();
}

// Whether every rank gets at least one row of each product, and attention can be shared or done by all.
absl::Status CheckShare(const SliceOptions& options, const ModelSpec& spec) {
  for (int64_t i = options.first_layer; i < options.last_layer && options.ranks > 1; ++i) {
    const LayerSpec& layer = spec.layers[i];
    const AttentionSpec& attention = layer.attention;
    const bool one_norm = attention.qk_norm != Presence::kAbsent && attention.qk_norm_over == HeadNorm::kWholeRow;
    int64_t rows_min = std::min(spec.width, spec.vocabulary);
    if (layer.routed) {
      const int64_t shared_width = layer.routed->shared_width > 0 ? layer.routed->shared_width : rows_min;
      rows_min = std::min({rows_min, layer.routed->width, layer.routed->routing.experts, shared_width});
    } else {
      rows_min = std::min(rows_min, layer.dense.width);
    }
    if (attention.mla || one_norm || rows_min < options.ranks) {
      return absl::UnimplementedError(absl::StrFormat(
          "layer %d cannot be shared by %d ranks: %s, %d rows in its smallest product", i, options.ranks,
          attention.mla ? "latent attention"
          : one_norm    ? "one norm over all heads"
                        : "grouped attention",
          rows_min));
    }
  }
  return absl::OkStatus();
}

}  // namespace

// A message of a step or of the head, whichever is larger.
int64_t LoadedSlice::shared_floats_max() const {
  int64_t row_floats = spec_.width;
  for (const LayerSpec& layer : spec_.layers) {
    row_floats = std::max({row_floats, layer.attention.heads * layer.attention.kv.v_width, layer.dense.width});
    if (layer.routed) {
      const RoutedSpec& routed = *layer.routed;
      row_floats =
          std::max({row_floats, routed.routing.used * routed.width, routed.routing.experts, routed.shared_width});
    }
  }
  return std::max(limits_.step_tokens_max * row_floats, kLogitRowsMax * spec_.vocabulary);
}

LoadedSlice::LoadedSlice(const SliceOptions& options, ModelSpec spec, KvCache cache)
    : spec_(std::move(spec)),
      first_layer_(options.first_layer),
      is_first_(options.is_first),
      is_last_(options.is_last),
      limits_(LimitsOf(options, spec_)),
      ranks_(options.rank, options.ranks),
      entries_(ranks_.Rows(spec_.vocabulary)),
      device_(*options.device),
      cache_(std::move(cache)) {}

absl::Status LoadedSlice::Load(const SliceOptions& options) {
  TensorLoader loader(*options.model, *options.weights, device_, loaded_,
                      options.borrow_experts ? MatrixUse::kBorrowed : MatrixUse::kExperts);
  BARN_RETURN_IF_ERROR(LoadEnds(loader));
  BARN_RETURN_IF_ERROR(LoadLayers(loader, options));
  for (const LoadedWeights::Origin& origin : loaded_.origins) {
    // Of the embedding, whose rows are looked up, B gives whole ones.
    const Span rows = origin.looked_up ? Span{.first = 0, .count = spec_.width} : origin.rows;
    adapter_targets_.push_back({.tensor = origin.tensor, .first_row = rows.first, .rows = rows.count});
  }
  adapters_.emplace(device_, loaded_.origins);
  BARN_RETURN_IF_ERROR(AllocateScratch());
  if (options.host_expert_layers > 0) {  // What goes down to the host's experts, and what they give.
    const int64_t floats = 2 * limits_.step_tokens_max * Scratch::RowFloats(spec_.width);
    BARN_ASSIGN_OR_RETURN(std::unique_ptr<Buffer> scratch, options.host_device->Allocate(floats));
    host_scratch_.emplace(std::move(scratch));
  }
  return absl::OkStatus();
}

absl::Status LoadedSlice::LoadEnds(TensorLoader& loader) {
  const MatrixShape table{.rows = spec_.vocabulary, .cols = spec_.width};
  const bool tied = !loader.Has("output.weight");
  if (is_first_) {
    input_.emplace(loader, spec_);
  }
  if (is_last_ && spec_.output_norm) {
    output_norm_.emplace(loader, spec_.norm, "output_norm", spec_.width);
  }
  if (is_last_) {
    const size_t before = loaded_.origins.size();
    if (spec_.scores) score_head_.emplace(loader, spec_.width);
    if (spec_.embedding_hidden > 0) embedding_head_.emplace(loader, spec_.width, spec_.embedding_hidden);
    loaded_.origins.resize(before);  // Adapters do not change these.
  }
  if (is_last_ && !spec_.encoder) {
    head_ = loader.MatrixRows(tied ? "token_embd.weight" : "output.weight", table, entries_.mine);
    // Adapters tell the head from the embedding also where the model has one tensor for both.
    if (head_ != nullptr) loaded_.origins.back().tensor = "output.weight";
  }
  return loader.status();
}

absl::Status LoadedSlice::LoadLayers(TensorLoader& loader, const SliceOptions& options) {
  for (int64_t i = options.first_layer; i < options.last_layer; ++i) {
    const LayerSpec& layer = spec_.layers[i];
    absl::Status status;
    const RopeTable* rope = Rope(loader, layer.attention.rope, status);
    if (i >= options.last_layer - options.host_expert_layers) loader.PutExpertsOn(*options.host_device);
    BARN_RETURN_IF_ERROR(status);
    layers_.emplace_back(loader, LayerOptions{.spec = layer,
                                              .norm = spec_.norm,
                                              .layer = i,
                                              .width = spec_.width,
                                              .residual_scale = spec_.residual_scale,
                                              .rope = rope,
                                              .kv = &cache_.layer(i - options.first_layer),
                                              .ranks = &ranks_,
                                              .step_tokens_max = options.step_tokens_max});
    BARN_RETURN_IF_ERROR(loader.status());
  }
  return absl::OkStatus();
}

// Layers of one kind share a table.
const RopeTable* LoadedSlice::Rope(TensorLoader& loader, const RopeSpec& spec, absl::Status& status) {
  if (spec.width == 0) {
    return nullptr;
  }
  for (const auto& [known, table] : ropes_) {
    if (known == spec) {
      return table.get();
    }
  }
  std::vector<float> factors;
  if (!spec.factors_tensor.empty()) {
    factors = loader.HostVector(spec.factors_tensor, spec.width / 2);
    status = loader.status();
  }
  auto table = status.ok() ? BuildRopeTable(spec, factors) : status;
  if (!table.ok()) {
    status = table.status();
    return nullptr;
  }
  ropes_.emplace_back(spec, std::make_unique<RopeTable>(*std::move(table)));
  return ropes_.back().second.get();
}

absl::Status LoadedSlice::AllocateScratch() {
  const int64_t rows = limits_.step_tokens_max;
  int64_t floats_per_row = 0;
  for (const DecoderLayer& layer : layers_) {
    floats_per_row = std::max(floats_per_row, layer.scratch_floats_per_row());
  }
  int64_t floats = rows * floats_per_row;
  if (is_first_) {
    floats = std::max(floats, rows * Scratch::RowFloats(spec_.width));
  }
  if (is_last_) {
    // Logits, or hidden states and scores of as many rows.
    const int64_t head_row = 3 * Scratch::RowFloats(spec_.width) +
                             std::max(Scratch::RowFloats(spec_.vocabulary), Scratch::RowFloats(spec_.embedding_hidden));
    floats = std::max(floats, kLogitRowsMax * head_row);
  }
  // The residual stream, and on the last slice the rows of it that the head wants.
  const int64_t streams = is_last_ ? 2 : 1;
  BARN_ASSIGN_OR_RETURN(std::unique_ptr<Buffer> activations,
                        device_.Allocate(streams * rows * Scratch::RowFloats(spec_.width)));
  BARN_ASSIGN_OR_RETURN(std::unique_ptr<Buffer> scratch, device_.Allocate(floats));
  activations_.emplace(std::move(activations));
  scratch_.emplace(std::move(scratch));
  tokens_.reserve(rows);
  positions_.reserve(rows);
  wanted_rows_.reserve(rows);
  sequences_.reserve(rows);
  row_scales_.resize(rows);
  return absl::OkStatus();
}

// Tensors of other slices are none of ours; one of ours that no product meets would be left out silently.
absl::StatusOr<bool> LoadedSlice::AddAdapter(int64_t id, AdapterPart& part, int64_t bytes_max) {
  for (const std::string& tensor : part.others) {
    bool ours = false;
    if (tensor == "output.weight" || tensor.starts_with("cls.")) {
      ours = is_last_;
    } else if (!tensor.starts_with("blk.")) {
      ours = is_first_;
    }
    for (size_t i = 0; i < layers_.size() && !ours; ++i) {
      ours = tensor.starts_with(LayerTensor(first_layer_ + static_cast<int64_t>(i), ""));
    }
    if (ours) {
      return absl::UnimplementedError(absl::StrFormat("tensor %s is not one that adapters may change here", tensor));
    }
  }
  return adapters_->Add(id, part, bytes_max);
}

absl::StatusOr<std::unique_ptr<Slice>> Slice::Create(const SliceOptions& options) {
  BARN_ASSIGN_OR_RETURN(ModelSpec spec, DescribeModel(*options.model, options.context_tokens));
  BARN_RETURN_IF_ERROR(CheckOptions(options, spec));
  BARN_RETURN_IF_ERROR(CheckShare(options, spec));
  std::vector<KvShape> shapes;
  for (int64_t i = options.first_layer; i < options.last_layer; ++i) {
    shapes.push_back(spec.layers[i].attention.kv);
    if (SharesHeads(shapes.back().kv_heads, options.ranks)) shapes.back().kv_heads /= options.ranks;
  }
  BARN_ASSIGN_OR_RETURN(
      KvCache cache,
      KvCache::Create(*options.device, shapes,
                      {.blocks = options.kv_blocks, .block_tokens = options.kv_block_tokens, .type = options.kv_type}));
  auto slice = std::make_unique<LoadedSlice>(options, std::move(spec), std::move(cache));
  BARN_RETURN_IF_ERROR(slice->Load(options));
  return slice;
}

}  // namespace barn
