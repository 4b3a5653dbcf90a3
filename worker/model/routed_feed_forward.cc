#include "worker/model/routed_feed_forward.h"

#include <cmath>

namespace barn {

RoutedFeedForward::RoutedFeedForward(TensorLoader& loader, RankGroup& ranks, const RoutedSpec& spec, int64_t layer,
                                     int64_t width, int64_t step_tokens_max)
    : spec_(spec),
      layer_(layer),
      width_(width),
      experts_cut_(ranks.Rows(spec.routing.experts)),
      hidden_(ranks.Rows(spec.width)),
      out_(ranks.Rows(width)),
      router_(spec.routing) {
  LoadRouter(loader);
  LoadExperts(loader, ranks);
  if (loader.status().ok()) {  // Only now are the numbers known to be those of tensors.
    experts_.resize(step_tokens_max * spec.routing.used);
    weights_.resize(step_tokens_max * spec.routing.used);
  }
  if (spec.shared_width > 0) {
    LoadShared(loader, ranks);
  }
}

void RoutedFeedForward::LoadRouter(TensorLoader& loader) {
  const int64_t experts = spec_.routing.experts;
  router_weight_ = loader.ExactMatrix(LayerTensor(layer_, "ffn_gate_inp.weight"), {.rows = experts, .cols = width_},
                                      experts_cut_.mine);
  router_bias_ = Part(loader.Vector(LayerTensor(layer_, "ffn_gate_inp.bias"), experts,
                                    spec_.biases ? Presence::kRequired : Presence::kAbsent),
                      experts_cut_.mine);
  selection_bias_ = loader.HostVector(LayerTensor(layer_, "exp_probs_b.bias"), experts, spec_.selection_bias);
}

void RoutedFeedForward::LoadExperts(TensorLoader& loader, RankGroup& ranks) {
  const int64_t experts = spec_.routing.experts;
  const auto name = [&](std::string_view tensor) { return LayerTensor(layer_, tensor); };
  const auto matrix = [&](std::string_view tensor, int64_t rows, int64_t cols, Span wanted) {
    return loader.ExpertMatrix(name(tensor), {experts, rows, cols}, wanted);
  };
  const auto bias = [&](std::string_view tensor, const RankCut& cut) {
    return loader.ExpertColumns(name(tensor), experts, cut.total(), cut.mine,
                                spec_.biases ? Presence::kRequired : Presence::kAbsent);
  };
  if (loader.experts_apart()) host_ = &loader.expert_device();
  if (!loader.Has(name("ffn_gate_up_exps.weight"))) {
    matrices_.gate = matrix("ffn_gate_exps.weight", spec_.width, width_, hidden_.mine);
    matrices_.up = matrix("ffn_up_exps.weight", spec_.width, width_, hidden_.mine);
  } else if (ranks.alone()) {
    matrices_.gate_up = matrix("ffn_gate_up_exps.weight", 2 * spec_.width, width_, {.count = 2 * spec_.width});
  } else {
    const Span up = {.first = spec_.width + hidden_.mine.first, .count = hidden_.mine.count};
    matrices_.gate = matrix("ffn_gate_up_exps.weight", 2 * spec_.width, width_, hidden_.mine);
    matrices_.up = matrix("ffn_gate_up_exps.weight", 2 * spec_.width, width_, up);
  }
  matrices_.down = matrix("ffn_down_exps.weight", width_, spec_.width, out_.mine);
  matrices_.gate_bias = bias("ffn_gate_exps.bias", hidden_);
  matrices_.up_bias = bias("ffn_up_exps.bias", hidden_);
  matrices_.down_bias = bias("ffn_down_exps.bias", out_);
  matrices_.activation = spec_.activation;
  matrices_.weight_scales_input = spec_.weight_scales_input;
  if (!ranks.alone()) {
    matrices_.first_hidden = hidden_.mine.first;
    matrices_.complete_hidden = [&ranks, cut = hidden_](Tensor hidden) { ranks.Complete(hidden, cut); };
  }
}

void RoutedFeedForward::LoadShared(TensorLoader& loader, const RankGroup& ranks) {
  const DenseSpec shared{.width = spec_.shared_width, .activation = spec_.activation, .bias = Presence::kAbsent};
  shared_.emplace(loader, ranks, shared, layer_, width_, "_shexp");
  if (spec_.shared_gate) {
    shared_gate_ = loader.ExactMatrix(LayerTensor(layer_, "ffn_gate_inp_shexp.weight"), {.rows = 1, .cols = width_},
                                      {.first = 0, .count = 1});
  }
}

int64_t RoutedFeedForward::scratch_floats_per_row() const {
  const int64_t shared = shared_ ? shared_->scratch_floats_per_row() : 0;
  return Scratch::RowFloats(spec_.routing.experts) + Scratch::RowFloats(1) + Scratch::RowFloats(width_) + shared;
}

void RoutedFeedForward::Forward(const Step& step, Tensor x, Tensor out) {
  if (host_ != nullptr) {
    ForwardOnHost(step, x, out);
    return;
  }
  step.device.RoutedFfn(matrices_, Route(step, x), x, Columns(out, out_.mine));
  if (shared_) {
    const Scratch::Frame frame(step.scratch);
    step.device.Add(Columns(out, out_.mine), Shared(step, x, step.scratch.Take(x.rows, width_)));
  }
}

// The device computes the shared expert while the host computes the others. There is one rank.
void RoutedFeedForward::ForwardOnHost(const Step& step, Tensor x, Tensor out) {
  const Scratch::Frame frame(step.scratch);
  const Scratch::Frame host_frame(*step.host_scratch);
  const Routes routes = Route(step, x);
  const Tensor x_host = step.host_scratch->Take(x.rows, x.cols);
  const Tensor out_host = step.host_scratch->Take(x.rows, x.cols);
  host_->Copy(step.device.ToHost(x), x_host);
  Tensor shared;
  if (shared_) shared = Shared(step, x, step.scratch.Take(x.rows, width_));
  host_->RoutedFfn(matrices_, routes, x_host, out_host);
  step.device.CopyFromHost({out_host.data, static_cast<size_t>(out_host.rows * out_host.cols)}, out);
  if (shared_) step.device.Add(out, shared);
}

Routes RoutedFeedForward::Route(const Step& step, Tensor x) {
  const Scratch::Frame frame(step.scratch);
  const int64_t experts = spec_.routing.experts;
  const int64_t k = spec_.routing.used;
  const Tensor scores = step.scratch.Take(x.rows, experts);
  step.MultiplyExact({router_weight_, router_bias_, Columns(scores, experts_cut_.mine)}, x);
  step.ranks.Complete(scores, experts_cut_);
  const Tensor logits = step.device.ToHost(scores);
  for (int64_t t = 0; t < x.rows; ++t) {
    router_.Route({logits.row(t), static_cast<size_t>(experts)}, selection_bias_, std::span(experts_).subspan(t * k, k),
                  std::span(weights_).subspan(t * k, k));
  }
  Routes routes{
      .k = k, .experts = std::span(experts_).first(x.rows * k), .weights = std::span(weights_).first(x.rows * k)};
  if (step.observe_routes) {
    step.observe_routes(layer_, routes, logits);
  }
  return routes;
}

Tensor RoutedFeedForward::Shared(const Step& step, Tensor x, Tensor all) {
  const Tensor shared = Columns(all, out_.mine);
  shared_->Forward(step, x, all);
  if (shared_gate_ != nullptr) {
    const Scratch::Frame frame(step.scratch);
    const Tensor logits = step.scratch.Take(x.rows, 1);
    step.MultiplyExact({shared_gate_, nullptr, logits}, x);
    const Tensor host = step.device.ToHost(logits);
    const std::span<float> scales = step.row_scales.first(x.rows);
    for (int64_t t = 0; t < x.rows; ++t) {
      scales[t] = 1 / (1 + std::exp(-*host.row(t)));
    }
    step.device.ScaleRows(shared, scales);
  }
  return shared;
}

}  // namespace barn
