#pragma once

#include <cstdint>

#include "kernels/device.h"
#include "worker/model/step.h"
#include "worker/model/tensor_loader.h"

namespace barn {

// The classification head of a reranker with one label: output . tanh(dense x + bias) + bias, or only one of the two
// products. Every rank computes all of it.
class ScoreHead {
 public:
  // cls.weight [D, D] and cls.output.weight [D, 1], or one of them as [D, 1].
  ScoreHead(TensorLoader& loader, int64_t width);

  // x: [rows, D]; returns [rows, 1] in scratch. Takes at most one row of D and one of 1 for each row.
  Tensor Score(Device& device, Scratch& scratch, Tensor x) const;

 private:
  const Matrix* dense_ = nullptr;  // Null: the output reads x.
  const float* dense_bias_ = nullptr;
  const Matrix* output_ = nullptr;
  const float* output_bias_ = nullptr;
};

}  // namespace barn
