#include "worker/model/layer.h"

#include <algorithm>

namespace barn {

DecoderLayer::DecoderLayer(TensorLoader& loader, const LayerOptions& options)
    : parallel_(options.spec.parallel),
      residual_scale_(options.residual_scale),
      width_(options.width),
      columns_(options.ranks->Rows(options.width)) {
  const LayerSpec& spec = options.spec;
  const auto norm = [&](std::string_view name) {
    return Norm(loader, options.norm, LayerTensor(options.layer, name), options.width);
  };
  if (spec.norm_after) {
    attention_output_norm_ = norm("attn_output_norm");
    layer_output_norm_ = norm("layer_output_norm");
  } else {
    if (spec.input_norm) attention_norm_ = norm("attn_norm");
    if (!parallel_) ffn_norm_ = norm(spec.ffn_norm);
  }
  if (spec.post_norms) {
    post_attention_norm_ = norm("post_attention_norm");
    post_ffn_norm_ = norm("post_ffw_norm");
  }
  attention_ = MakeAttention(loader, {.spec = spec.attention,
                                      .layer = options.layer,
                                      .width = options.width,
                                      .norm_epsilon = options.norm.epsilon,
                                      .rope = options.rope,
                                      .kv = options.kv,
                                      .ranks = options.ranks});
  feed_forward_ = MakeFeedForward(loader, *options.ranks, spec, options.layer, options.width, options.step_tokens_max);
  loader.RequireLayerUsed(options.layer);
}

int64_t DecoderLayer::scratch_floats_per_row() const {
  const int64_t rows = parallel_ ? 3 : 2;
  return rows * Scratch::RowFloats(width_) +
         std::max(attention_->scratch_floats_per_row(), feed_forward_->scratch_floats_per_row());
}

void DecoderLayer::Forward(const Step& step, Tensor x) {
  if (parallel_) {
    ForwardParallel(step, x);
  } else {
    MixPositions(step, x);
    FeedForward(step, x);
  }
}

Tensor DecoderLayer::Normed(const Step& step, const std::optional<Norm>& norm, Tensor x, Tensor normed) const {
  if (!norm) return x;
  norm->Apply(step.device, x, normed);
  return normed;
}

void DecoderLayer::MixPositions(const Step& step, Tensor x) {
  const Scratch::Frame frame(step.scratch);
  const Tensor normed = step.scratch.Take(x.rows, x.cols);
  const Tensor branch = step.scratch.Take(x.rows, x.cols);
  attention_->Forward(step, Normed(step, attention_norm_, x, normed), branch);
  AddBranch(step, x, branch, post_attention_norm_);
  if (attention_output_norm_) attention_output_norm_->Apply(step.device, x, x);
}

void DecoderLayer::FeedForward(const Step& step, Tensor x) {
  const Scratch::Frame frame(step.scratch);
  const Tensor normed = step.scratch.Take(x.rows, x.cols);
  const Tensor branch = step.scratch.Take(x.rows, x.cols);
  feed_forward_->Forward(step, Normed(step, ffn_norm_, x, normed), branch);
  AddBranch(step, x, branch, post_ffn_norm_);
  if (layer_output_norm_) layer_output_norm_->Apply(step.device, x, x);
}

void DecoderLayer::ForwardParallel(const Step& step, Tensor x) {
  const Scratch::Frame frame(step.scratch);
  const Tensor normed = step.scratch.Take(x.rows, x.cols);
  const Tensor mixed = step.scratch.Take(x.rows, x.cols);
  const Tensor fed = step.scratch.Take(x.rows, x.cols);
  const Tensor input = Normed(step, attention_norm_, x, normed);
  attention_->Forward(step, input, mixed);
  feed_forward_->Forward(step, input, fed);
  AddBranch(step, x, mixed, post_attention_norm_);
  AddBranch(step, x, fed, post_ffn_norm_);
}

void DecoderLayer::AddBranch(const Step& step, Tensor x, Tensor branch, const std::optional<Norm>& post_norm) const {
  step.ranks.Complete(branch, columns_);
  if (post_norm) {
    post_norm->Apply(step.device, branch, branch);
  }
  if (residual_scale_ == 1) {
    step.device.Add(x, branch);
  } else {
    step.device.AddScaled(x, branch, residual_scale_);
  }
}

}  // namespace barn
