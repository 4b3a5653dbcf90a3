#include "worker/model/score_head.h"

namespace barn {

ScoreHead::ScoreHead(TensorLoader& loader, int64_t width) {
  const bool two = loader.Has("cls.output.weight");
  if (two) {
    dense_ = loader.Matrix("cls.weight", {.rows = width, .cols = width}, Presence::kOptional);
    dense_bias_ = loader.Vector("cls.bias", width, Presence::kOptional);
  }
  const std::string output = two ? "cls.output" : "cls";
  output_ = loader.Matrix(output + ".weight", {.rows = 1, .cols = width});
  output_bias_ = loader.Vector(output + ".bias", 1, Presence::kOptional);
}

Tensor ScoreHead::Score(Device& device, Scratch& scratch, Tensor x) const {
  Tensor hidden = x;
  if (dense_ != nullptr) {
    hidden = scratch.Take(x.rows, x.cols);
    const Projection dense[] = {{dense_, dense_bias_, hidden}};
    device.MatMul(dense, x);
    device.Softcap(hidden, 1);  // tanh
  }
  const Tensor scores = scratch.Take(x.rows, 1);
  const Projection output[] = {{output_, output_bias_, scores}};
  device.MatMul(output, hidden);
  return scores;
}

}  // namespace barn
