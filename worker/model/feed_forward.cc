#include "worker/model/feed_forward.h"

#include "absl/strings/str_format.h"
#include "worker/model/routed_feed_forward.h"

namespace barn {

DenseFeedForward::DenseFeedForward(TensorLoader& loader, const DenseSpec& spec, int64_t layer, int64_t width,
                                   std::string_view suffix)
    : spec_(spec) {
  const auto name = [&](std::string_view part, std::string_view kind) {
    return LayerTensor(layer, absl::StrFormat("ffn_%s%s%s", part, suffix, kind));
  };
  if (spec.fused_gate_up) {
    const int64_t rows[] = {spec.width, spec.width};
    const auto parts = loader.Split(name("up", ".weight"), rows, width);
    gate_ = parts[0], up_ = parts[1];
  } else {
    up_ = loader.Matrix(name("up", ".weight"), {.rows = spec.width, .cols = width});
    up_bias_ = loader.Vector(name("up", ".bias"), spec.width, spec.bias);
    if (spec.gated) {
      gate_ = loader.Matrix(name("gate", ".weight"), {.rows = spec.width, .cols = width});
      gate_bias_ = loader.Vector(name("gate", ".bias"), spec.width, spec.bias);
    }
  }
  down_ = loader.Matrix(name("down", ".weight"), {.rows = width, .cols = spec.width});
  down_bias_ = loader.Vector(name("down", ".bias"), width, spec.bias);
}

void DenseFeedForward::Forward(const Step& step, Tensor x, Tensor out) {
  Device& device = step.device;
  const Scratch::Frame frame(step.scratch);
  Tensor hidden = step.scratch.Take(x.rows, spec_.width);
  if (spec_.gated) {
    Tensor up = step.scratch.Take(x.rows, spec_.width);
    const Projection inputs[] = {{gate_, gate_bias_, hidden}, {up_, up_bias_, up}};
    device.MatMul(inputs, x);
    device.GatedActivation(spec_.activation, hidden, up);
  } else {
    const Projection input[] = {{up_, up_bias_, hidden}};
    device.MatMul(input, x);
    device.Gelu(hidden);
  }
  const Projection output[] = {{down_, down_bias_, out}};
  device.MatMul(output, hidden);
}

std::unique_ptr<FeedForwardPart> MakeFeedForward(TensorLoader& loader, const LayerSpec& spec, int64_t layer,
                                                 int64_t width, int64_t step_tokens_max) {
  if (spec.routed) {
    return std::make_unique<RoutedFeedForward>(loader, *spec.routed, layer, width, step_tokens_max);
  }
  return std::make_unique<DenseFeedForward>(loader, spec.dense, layer, width, "");
}

}  // namespace barn
