#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "worker/model/attention.h"
#include "worker/model/feed_forward.h"
#include "worker/model/norm.h"
#include "worker/model/step.h"

namespace barn {

struct LayerOptions {
  LayerSpec spec;
  NormSpec norm;
  int64_t layer = 0;
  int64_t width = 0;
  float residual_scale = 1;
  const RopeTable* rope = nullptr;  // Null where the layer does not rotate.
  const KvLayer* kv = nullptr;
  RankGroup* ranks = nullptr;  // Outlives the layer.
  int64_t step_tokens_max = 0;
};

// One transformer layer.
class DecoderLayer {
 public:
  DecoderLayer(TensorLoader& loader, const LayerOptions& options);

  // x: [T, D], the residual stream, in place.
  void Forward(const Step& step, Tensor x);

  // Forward in two halves, for a caller that needs only some rows after the last mixing of positions; not for a layer
  // whose branches are parallel.
  bool has_halves() const { return !parallel_; }
  void MixPositions(const Step& step, Tensor x);
  void FeedForward(const Step& step, Tensor x);

  int64_t scratch_floats_per_row() const;

 private:
  void ForwardParallel(const Step& step, Tensor x);
  // What a branch reads: x, or its norm in `normed`.
  Tensor Normed(const Step& step, const std::optional<Norm>& norm, Tensor x, Tensor normed) const;
  // branch: [T, D] with this rank's columns.
  void AddBranch(const Step& step, Tensor x, Tensor branch, const std::optional<Norm>& post_norm) const;

  bool parallel_;
  float residual_scale_;
  int64_t width_;
  RankCut columns_;                     // Of D.
  std::optional<Norm> attention_norm_;  // Of the branch's input.
  std::optional<Norm> ffn_norm_;
  std::optional<Norm> post_attention_norm_;
  std::optional<Norm> post_ffn_norm_;
  std::optional<Norm> attention_output_norm_;  // Of the stream behind the branch.
  std::optional<Norm> layer_output_norm_;
  std::unique_ptr<AttentionPart> attention_;
  std::unique_ptr<FeedForwardPart> feed_forward_;
};

}  // namespace barn
