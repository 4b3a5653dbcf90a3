#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "worker/model/spec.h"
#include "worker/model/step.h"
#include "worker/model/tensor_loader.h"

namespace barn {

// The part of a layer that treats every position by itself.
class FeedForwardPart {
 public:
  virtual ~FeedForwardPart() = default;

  // x: [T, D], normed; out: [T, D], of which this rank's columns are written.
  virtual void Forward(const Step& step, Tensor x, Tensor out) = 0;
  virtual int64_t scratch_floats_per_row() const = 0;
};

// down(act(gate x) * up x), or down(act(up x)).
class DenseFeedForward final : public FeedForwardPart {
 public:
  // Tensors are ffn_{gate,up,down}<suffix>.
  DenseFeedForward(TensorLoader& loader, const RankGroup& ranks, const DenseSpec& spec, int64_t layer, int64_t width,
                   std::string_view suffix);

  void Forward(const Step& step, Tensor x, Tensor out) override;
  int64_t scratch_floats_per_row() const override {
    return Scratch::RowFloats(hidden_.total()) + Scratch::RowFloats(hidden_.mine.count);
  }

 private:
  DenseSpec spec_;
  RankCut hidden_, out_;  // Columns of FF and of D.
  const Matrix* gate_ = nullptr;
  const Matrix* up_ = nullptr;
  const Matrix* down_ = nullptr;
  const float* gate_bias_ = nullptr;
  const float* up_bias_ = nullptr;
  const float* down_bias_ = nullptr;
};

// The experts of a layer whose spec has them, else the dense part.
std::unique_ptr<FeedForwardPart> MakeFeedForward(TensorLoader& loader, RankGroup& ranks, const LayerSpec& spec,
                                                 int64_t layer, int64_t width, int64_t step_tokens_max);

}  // namespace barn
