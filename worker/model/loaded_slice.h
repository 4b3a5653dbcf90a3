#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "worker/memory/kv_cache.h"
#include "worker/model/adapters.h"
#include "worker/model/embedding_head.h"
#include "worker/model/input.h"
#include "worker/model/layer.h"
#include "worker/model/score_head.h"
#include "worker/model/slice.h"
#include "worker/model/step_check.h"

namespace barn {

// The slice that Slice::Create makes: slice_load.cc reads it, slice.cc runs it.
class LoadedSlice final : public Slice {
 public:
  LoadedSlice(const SliceOptions& options, ModelSpec spec, KvCache cache);

  // The steps of Create that read tensors.
  absl::Status Load(const SliceOptions& options);

  absl::Status Forward(const StepInput& step, std::span<float> activations_out) override;
  absl::Status ForwardToLogits(const StepInput& step, std::span<const int32_t> logit_rows, LogitSink sink) override;

  void ObserveRoutes(RouteObserver observer) override { observe_routes_ = std::move(observer); }
  const std::vector<AdapterTarget>& adapter_targets() const override { return adapter_targets_; }
  absl::StatusOr<bool> AddAdapter(int64_t id, AdapterPart& part, int64_t bytes_max) override;
  void RemoveAdapter(int64_t id) override { adapters_->Remove(id); }
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
  // out = of(norm(x)), some rows at a time; `of` gives [rows, n].
  absl::Status ReadNormed(Tensor x, std::span<float> out, absl::FunctionRef<Tensor(Tensor)> of);
  void LayOut(const StepInput& step);
  // logit_rows: the rows of the step that x holds.
  void Logits(Tensor x, std::span<const int32_t> logit_rows, Tensor logits);
  Step StepOf(const StepAdapters* adapters);
  // Rows of the step that pass through adapters: all, or those of logit_rows. Nullopt: none does.
  std::optional<StepAdapters> AdaptersOf(int64_t rows);
  std::optional<StepAdapters> AdaptersOf(std::span<const int32_t> logit_rows);

  const ModelSpec spec_;
  const int64_t first_layer_;
  const bool is_first_;
  const bool is_last_;
  const StepBounds limits_;
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
  std::optional<EmbeddingHead> embedding_head_;
  RouteObserver observe_routes_;
  std::vector<AdapterTarget> adapter_targets_;  // As loaded_.origins.
  std::optional<SliceAdapters> adapters_;

  // Of the step at hand; sized once for the largest.
  std::optional<Scratch> activations_;
  std::optional<Scratch> scratch_;
  std::optional<Scratch> host_scratch_;
  std::vector<int32_t> tokens_;
  std::vector<int32_t> positions_;
  std::vector<int32_t> wanted_rows_;
  std::vector<float> row_scales_;
  std::vector<SequenceRows> sequences_;
  std::vector<std::span<const AdapterScale>> row_adapters_;  // [T]; empty where no sequence has any.
};

}  // namespace barn
