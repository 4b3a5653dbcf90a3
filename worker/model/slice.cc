#include "worker/model/slice.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "proto/base/status.h"
#include "sharding/limits.h"
#include "sharding/ranks.h"
#include "worker/memory/kv_cache.h"
#include "worker/model/architectures.h"
#include "worker/model/input.h"
#include "worker/model/layer.h"
#include "worker/model/score_head.h"
#include "worker/model/step_check.h"

namespace barn {
namespace {

class LoadedSlice final : public Slice {
 public:
  LoadedSlice(const SliceOptions& options, ModelSpec spec, KvCache cache);

  // The steps of Create that read tensors.
  absl::Status Load(const SliceOptions& options);

  absl::Status Forward(const StepInput& step, std::span<float> activations_out) override;
  absl::Status ForwardToLogits(const StepInput& step, std::span<const int32_t> logit_rows, LogitSink sink) override;

  void ObserveRoutes(RouteObserver observer) override { observe_routes_ = std::move(observer); }
  bool is_first() const override { return is_first_; }
  bool is_last() const override { return is_last_; }
  int64_t width() const override { return spec_.width; }
  int64_t vocabulary() const override { return spec_.vocabulary; }
  int64_t context_tokens() const override { return spec_.context_tokens; }
  bool encoder() const override { return spec_.encoder; }
  bool has_scores() const override { return score_head_.has_value(); }
  int64_t kv_bytes() const override { return cache_.bytes(); }
  int64_t scratch_bytes() const override { return scratch_->bytes() + activations_->bytes(); }
  int64_t shared_floats_max() const override;

 private:
  absl::Status LoadLayers(TensorLoader& loader, const SliceOptions& options);
  absl::Status LoadEnds(TensorLoader& loader);
  absl::Status AllocateScratch();
  const RopeTable* Rope(TensorLoader& loader, const RopeSpec& spec, absl::Status& status);

  // Checks the step, runs the layers and returns the residual stream, [T, D]; on the last slice only the wanted rows of
  // it, [wanted, D].
  absl::StatusOr<Tensor> Run(const StepInput& input, std::span<const int32_t> wanted);
  Tensor RunLastLayer(const Step& step, Tensor x, std::span<const int32_t> wanted);
  absl::Status CheckWishes(const StepInput& step, std::span<const int32_t> logit_rows) const;
  // x: [hidden rows, D] and [score rows, D].
  absl::Status ReadHidden(Tensor x, std::span<float> out);
  absl::Status ReadScores(Tensor x, std::span<float> out);
  void LayOut(const StepInput& step);
  void Logits(Tensor x, Tensor logits);

  const ModelSpec spec_;
  const int64_t first_layer_;
  const bool is_first_;
  const bool is_last_;
  const StepLimits limits_;
  RankGroup ranks_;
  const RankCut entries_;  // Of the vocabulary.
  Device& device_;
  KvCache cache_;
  LoadedWeights loaded_;
  std::vector<std::pair<RopeSpec, std::unique_ptr<RopeTable>>> ropes_;
  std::vector<DecoderLayer> layers_;
  std::optional<Input> input_;
  const Matrix* head_ = nullptr;
  std::optional<Norm> output_norm_;
  std::optional<ScoreHead> score_head_;
  RouteObserver observe_routes_;

  // Of the step at hand; sized once for the largest.
  std::optional<Scratch> activations_;
  std::optional<Scratch> scratch_;
  std::optional<Scratch> host_scratch_;
  std::vector<int32_t> tokens_;
  std::vector<int32_t> positions_;
  std::vector<int32_t> wanted_rows_;
  std::vector<float> row_scales_;
  std::vector<SequenceRows> sequences_;
};

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

StepLimits LimitsOf(const SliceOptions& options, const ModelSpec& spec) {
  return {.width = spec.width,
          .vocabulary = spec.vocabulary,
          .context_tokens = spec.context_tokens,
          .kv_blocks = options.kv_blocks,
          .kv_block_tokens = options.kv_block_tokens,
          .step_tokens_max = options.step_tokens_max,
          .is_first = options.is_first};
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
  if (is_last_ && spec_.scores) {
    score_head_.emplace(loader, spec_.width);
  }
  if (is_last_ && !spec_.encoder) {
    head_ = loader.MatrixRows(tied ? "token_embd.weight" : "output.weight", table, entries_.mine);
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
    const int64_t head_row = 3 * Scratch::RowFloats(spec_.width) + Scratch::RowFloats(spec_.vocabulary);
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

void LoadedSlice::LayOut(const StepInput& step) {
  tokens_.clear();
  positions_.clear();
  sequences_.clear();
  for (const SequenceStep& sequence : step.sequences) {
    const auto rows = static_cast<int64_t>(sequence.tokens.size());
    sequences_.push_back({.first_row = static_cast<int64_t>(tokens_.size()),
                          .rows = rows,
                          .first_position = sequence.first_position,
                          .blocks = sequence.blocks});
    tokens_.insert(tokens_.end(), sequence.tokens.begin(), sequence.tokens.end());
    for (int64_t r = 0; r < rows; ++r) {
      positions_.push_back(static_cast<int32_t>(sequence.first_position + r));
    }
  }
}

absl::StatusOr<Tensor> LoadedSlice::Run(const StepInput& input, std::span<const int32_t> wanted) {
  BARN_RETURN_IF_ERROR(CheckStep(input, limits_));
  if (!ranks_.alone() && (input.collective == nullptr || input.collective->ranks() != ranks_.ranks() ||
                          input.collective->rank() != ranks_.rank())) {
    return absl::InvalidArgumentError(
        absl::StrFormat("rank %d of %d without the others", ranks_.rank(), ranks_.ranks()));
  }
  ranks_.BeginStep(input.collective, input.wait);
  LayOut(input);
  const Scratch::Frame frame(*activations_);
  const Tensor x = activations_->Take(static_cast<int64_t>(tokens_.size()), spec_.width);
  if (is_first_) {
    input_->Embed(device_, *scratch_, tokens_, positions_, x);
  } else {
    device_.CopyFromHost(input.activations, x);
  }
  const Step step{.device = device_,
                  .scratch = *scratch_,
                  .sequences = sequences_,
                  .positions = positions_,
                  .row_scales = row_scales_,
                  .observe_routes = observe_routes_,
                  .ranks = ranks_,
                  .host_scratch = host_scratch_ ? &*host_scratch_ : nullptr};
  for (size_t i = 0; i + 1 < layers_.size(); ++i) {
    layers_[i].Forward(step, x);
    BARN_RETURN_IF_ERROR(ranks_.status());
  }
  Tensor result = x;
  if (is_last_) {
    result = RunLastLayer(step, x, wanted);
  } else {
    layers_.back().Forward(step, x);
  }
  BARN_RETURN_IF_ERROR(ranks_.status());
  return result;
}

// Behind the last attention, positions that nobody asked for need no further work.
Tensor LoadedSlice::RunLastLayer(const Step& step, Tensor x, std::span<const int32_t> wanted_rows) {
  DecoderLayer& layer = layers_.back();
  if (layer.has_halves()) {
    layer.MixPositions(step, x);
  } else {
    layer.Forward(step, x);
  }
  const Tensor wanted = activations_->Take(static_cast<int64_t>(wanted_rows.size()), x.cols);
  for (int64_t i = 0, rows = 0; i < wanted.rows; i += rows) {
    // Neighbours together.
    for (rows = 1; i + rows < wanted.rows && wanted_rows[i + rows] == wanted_rows[i] + rows;) ++rows;
    device_.Copy(RowRange(x, wanted_rows[i], rows), RowRange(wanted, i, rows));
  }
  if (layer.has_halves() && wanted.rows > 0) {
    layer.FeedForward(step, wanted);
  }
  return wanted;
}

absl::Status LoadedSlice::Forward(const StepInput& step, std::span<float> activations_out) {
  if (is_last_) {
    return absl::InvalidArgumentError("the last slice of a model gives logits, not activations");
  }
  if (static_cast<int64_t>(activations_out.size()) != CountRows(step) * spec_.width) {
    return absl::InvalidArgumentError(absl::StrFormat("room for %d activations, but %d rows give %d",
                                                      activations_out.size(), CountRows(step),
                                                      CountRows(step) * spec_.width));
  }
  BARN_ASSIGN_OR_RETURN(const Tensor x, Run(step, {}));
  const Tensor host = device_.ToHost(x);
  BARN_RETURN_IF_ERROR(device_.status());
  std::copy_n(host.data, host.rows * host.cols, activations_out.begin());
  return absl::OkStatus();
}

absl::Status LoadedSlice::ForwardToLogits(const StepInput& step, std::span<const int32_t> logit_rows, LogitSink sink) {
  if (!is_last_) {
    return absl::InvalidArgumentError("only the last slice of a model gives logits");
  }
  BARN_RETURN_IF_ERROR(CheckWishes(step, logit_rows));
  wanted_rows_.assign(logit_rows.begin(), logit_rows.end());
  wanted_rows_.insert(wanted_rows_.end(), step.hidden_rows.begin(), step.hidden_rows.end());
  wanted_rows_.insert(wanted_rows_.end(), step.score_rows.begin(), step.score_rows.end());
  BARN_RETURN_IF_ERROR(CheckLogitRows(wanted_rows_, CountRows(step)));
  BARN_ASSIGN_OR_RETURN(const Tensor x, Run(step, wanted_rows_));
  const auto hidden_rows = static_cast<int64_t>(step.hidden_rows.size());
  const auto first_hidden = static_cast<int64_t>(logit_rows.size());
  BARN_RETURN_IF_ERROR(ReadHidden(RowRange(x, first_hidden, hidden_rows), step.hidden));
  BARN_RETURN_IF_ERROR(
      ReadScores(RowRange(x, first_hidden + hidden_rows, static_cast<int64_t>(step.score_rows.size())), step.scores));
  for (size_t first = 0; first < logit_rows.size(); first += kLogitRowsMax) {
    const auto rows = static_cast<int64_t>(std::min<size_t>(kLogitRowsMax, logit_rows.size() - first));
    const Scratch::Frame frame(*scratch_);
    const Tensor logits = scratch_->Take(rows, spec_.vocabulary);
    Logits(RowRange(x, static_cast<int64_t>(first), rows), logits);
    BARN_RETURN_IF_ERROR(ranks_.status());
    const Tensor host = device_.ToHost(logits);
    BARN_RETURN_IF_ERROR(device_.status());
    sink(static_cast<int64_t>(first), host);
  }
  return absl::OkStatus();
}

absl::Status LoadedSlice::CheckWishes(const StepInput& step, std::span<const int32_t> logit_rows) const {
  const auto hidden_rows = static_cast<int64_t>(step.hidden_rows.size());
  if (static_cast<int64_t>(step.hidden.size()) != hidden_rows * spec_.width ||
      step.scores.size() != step.score_rows.size()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("room for %d numbers of %d hidden rows of %d, and for %d of %d scores", step.hidden.size(),
                        hidden_rows, spec_.width, step.scores.size(), step.score_rows.size()));
  }
  if (spec_.encoder && !logit_rows.empty()) {
    return absl::InvalidArgumentError("logits of an encoder, which has none");
  }
  if (!score_head_ && !step.score_rows.empty()) {
    return absl::InvalidArgumentError("scores of a model without a classification head");
  }
  return absl::OkStatus();
}

absl::Status LoadedSlice::ReadHidden(Tensor x, std::span<float> out) {
  for (int64_t first = 0; first < x.rows; first += kLogitRowsMax) {
    const Scratch::Frame frame(*scratch_);
    Tensor rows = RowRange(x, first, std::min(kLogitRowsMax, x.rows - first));
    if (output_norm_) {
      const Tensor normed = scratch_->Take(rows.rows, x.cols);
      output_norm_->Apply(device_, rows, normed);
      rows = normed;
    }
    const Tensor host = device_.ToHost(rows);
    BARN_RETURN_IF_ERROR(device_.status());
    for (int64_t r = 0; r < host.rows; ++r) {
      std::copy_n(host.row(r), x.cols, out.begin() + (first + r) * x.cols);
    }
  }
  return absl::OkStatus();
}

absl::Status LoadedSlice::ReadScores(Tensor x, std::span<float> out) {
  for (int64_t first = 0; first < x.rows; first += kLogitRowsMax) {
    const Scratch::Frame frame(*scratch_);
    Tensor rows = RowRange(x, first, std::min(kLogitRowsMax, x.rows - first));
    if (output_norm_) {
      const Tensor normed = scratch_->Take(rows.rows, x.cols);
      output_norm_->Apply(device_, rows, normed);
      rows = normed;
    }
    const Tensor host = device_.ToHost(score_head_->Score(device_, *scratch_, rows));
    BARN_RETURN_IF_ERROR(device_.status());
    for (int64_t r = 0; r < host.rows; ++r) out[first + r] = *host.row(r);
  }
  return absl::OkStatus();
}

// x: [rows, D], logits: [rows, V].
void LoadedSlice::Logits(Tensor x, Tensor logits) {
  const Scratch::Frame frame(*scratch_);
  const Tensor normed = scratch_->Take(logits.rows, spec_.width);
  output_norm_->Apply(device_, x, normed);
  const Projection projection[] = {{head_, nullptr, Columns(logits, entries_.mine)}};
  device_.MatMul(projection, normed);
  ranks_.Complete(logits, entries_);
  if (spec_.logit_scale != 1) {
    device_.Scale(logits, spec_.logit_scale);
  }
  if (spec_.final_softcap > 0) {
    device_.Softcap(logits, spec_.final_softcap);
  }
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
  if (options.ranks > 1 && !options.device->host_addressable()) {
    return absl::UnimplementedError(
        absl::StrFormat("layers shared by %d ranks on %s", options.ranks, options.device->Describe()));
  }
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
