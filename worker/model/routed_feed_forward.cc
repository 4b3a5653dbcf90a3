#include "worker/model/routed_feed_forward.h"

#include <cmath>

namespace barn {

RoutedFeedForward::RoutedFeedForward(TensorLoader& loader, const RoutedSpec& spec, int64_t layer, int64_t width,
                                     int64_t step_tokens_max)
    : spec_(spec), layer_(layer), width_(width), router_(spec.routing) {
  const int64_t experts = spec.routing.experts;
  const auto name = [&](std::string_view tensor) { return LayerTensor(layer, tensor); };
  const Presence biases = spec.biases ? Presence::kRequired : Presence::kAbsent;

  router_weight_ = loader.ExactMatrix(name("ffn_gate_inp.weight"), {.rows = experts, .cols = width});
  router_bias_ = loader.Vector(name("ffn_gate_inp.bias"), experts, biases);
  selection_bias_ = loader.HostVector(name("exp_probs_b.bias"), experts, spec.selection_bias);

  const auto expert_matrix = [&](std::string_view tensor, int64_t rows, int64_t cols) {
    return loader.ExpertMatrix(name(tensor), {experts, rows, cols});
  };
  if (loader.Has(name("ffn_gate_up_exps.weight"))) {
    matrices_.gate_up = expert_matrix("ffn_gate_up_exps.weight", 2 * spec.width, width);
  } else {
    matrices_.gate = expert_matrix("ffn_gate_exps.weight", spec.width, width);
    matrices_.up = expert_matrix("ffn_up_exps.weight", spec.width, width);
  }
  matrices_.down = expert_matrix("ffn_down_exps.weight", width, spec.width);
  matrices_.gate_bias = loader.Vector(name("ffn_gate_exps.bias"), experts, spec.width, biases);
  matrices_.up_bias = loader.Vector(name("ffn_up_exps.bias"), experts, spec.width, biases);
  matrices_.down_bias = loader.Vector(name("ffn_down_exps.bias"), experts, width, biases);
  matrices_.activation = spec.activation;
  matrices_.weight_scales_input = spec.weight_scales_input;

  if (loader.status().ok()) {  // Only now are the numbers known to be those of tensors.
    experts_.resize(step_tokens_max * spec.routing.used);
    weights_.resize(step_tokens_max * spec.routing.used);
  }
  if (spec.shared_width > 0) {
    const DenseSpec shared{.width = spec.shared_width, .activation = spec.activation, .bias = Presence::kAbsent};
    shared_.emplace(loader, shared, layer, width, "_shexp");
    if (spec.shared_gate) {
      shared_gate_ = loader.ExactMatrix(name("ffn_gate_inp_shexp.weight"), {.rows = 1, .cols = width});
    }
  }
}

int64_t RoutedFeedForward::scratch_floats_per_row() const {
  const int64_t shared = shared_ ? shared_->scratch_floats_per_row() : 0;
  return Scratch::RowFloats(spec_.routing.experts) + Scratch::RowFloats(1) + Scratch::RowFloats(width_) + shared;
}

void RoutedFeedForward::Forward(const Step& step, Tensor x, Tensor out) {
  step.device.RoutedFfn(matrices_, Route(step, x), x, out);
  if (shared_) {
    AddShared(step, x, out);
  }
}

Routes RoutedFeedForward::Route(const Step& step, Tensor x) {
  const Scratch::Frame frame(step.scratch);
  const int64_t experts = spec_.routing.experts;
  const int64_t k = spec_.routing.used;
  const Tensor logits = step.scratch.Take(x.rows, experts);
  step.device.MatMulExact({router_weight_, router_bias_, logits}, x);
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

void RoutedFeedForward::AddShared(const Step& step, Tensor x, Tensor out) {
  const Scratch::Frame frame(step.scratch);
  const Tensor shared = step.scratch.Take(x.rows, out.cols);
  shared_->Forward(step, x, shared);
  if (shared_gate_ != nullptr) {
    const Tensor logits = step.scratch.Take(x.rows, 1);
    step.device.MatMulExact({shared_gate_, nullptr, logits}, x);
    const std::span<float> scales = step.row_scales.first(x.rows);
    for (int64_t t = 0; t < x.rows; ++t) {
      scales[t] = 1 / (1 + std::exp(-*logits.row(t)));
    }
    step.device.ScaleRows(shared, scales);
  }
  step.device.Add(out, shared);
}

}  // namespace barn
