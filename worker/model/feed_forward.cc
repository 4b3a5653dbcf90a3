#include "worker/model/feed_forward.h"

#include "absl/strings/str_format.h"
#include "worker/model/routed_feed_forward.h"

namespace barn {

DenseFeedForward::DenseFeedForward(TensorLoader& loader, const RankGroup& ranks, const DenseSpec& spec, int64_t layer,
                                   int64_t width, std::string_view suffix)
    : spec_(spec), hidden_(ranks.Rows(spec.width)), out_(ranks.Rows(width)) {
  const auto name = [&](std::string_view part, std::string_view kind) {
    return LayerTensor(layer, absl::StrFormat("ffn_%s%s%s", part, suffix, kind));
  };
  const auto matrix = [&](std::string_view part, const RankCut& rows, int64_t cols) {
    return loader.MatrixRows(name(part, ".weight"), {.rows = rows.total(), .cols = cols}, rows.mine);
  };
  const auto bias = [&](std::string_view part, const RankCut& rows) {
    return Part(loader.Vector(name(part, ".bias"), rows.total(), spec.bias), rows.mine);
  };
  if (spec.fused_gate_up) {
    const TensorLoader::MatrixPart halves[] = {{spec.width, hidden_.mine}, {spec.width, hidden_.mine}};
    const auto parts = loader.Split(name("up", ".weight"), halves, width);
    gate_ = parts[0], up_ = parts[1];
  } else {
    up_ = matrix("up", hidden_, width);
    up_bias_ = bias("up", hidden_);
    if (spec.gated) {
      gate_ = matrix("gate", hidden_, width);
      gate_bias_ = bias("gate", hidden_);
    }
  }
  down_ = matrix("down", out_, spec.width);
  down_bias_ = bias("down", out_);
}

void DenseFeedForward::Forward(const Step& step, Tensor x, Tensor out) {
  Device& device = step.device;
  const Scratch::Frame frame(step.scratch);
  const Tensor hidden = step.scratch.Take(x.rows, hidden_.total());
  const Tensor mine = Columns(hidden, hidden_.mine);
  if (spec_.gated) {
    Tensor up = step.scratch.Take(x.rows, hidden_.mine.count);
    const Projection inputs[] = {{gate_, gate_bias_, mine}, {up_, up_bias_, up}};
    step.Multiply(inputs, x);
    device.GatedActivation(spec_.activation, mine, up);
  } else {
    const Projection input[] = {{up_, up_bias_, mine}};
    step.Multiply(input, x);
    device.Gelu(spec_.activation, mine);
  }
  step.ranks.Complete(hidden, hidden_);
  const Projection output[] = {{down_, down_bias_, Columns(out, out_.mine)}};
  step.Multiply(output, hidden);
}

std::unique_ptr<FeedForwardPart> MakeFeedForward(TensorLoader& loader, RankGroup& ranks, const LayerSpec& spec,
                                                 int64_t layer, int64_t width, int64_t step_tokens_max) {
  if (spec.routed) {
    return std::make_unique<RoutedFeedForward>(loader, ranks, *spec.routed, layer, width, step_tokens_max);
  }
  return std::make_unique<DenseFeedForward>(loader, ranks, spec.dense, layer, width, "");
}

}  // namespace barn
