#pragma once

#include <cstdint>

#include "kernels/device.h"
#include "worker/model/step.h"
#include "worker/model/tensor_loader.h"

namespace barn {

// Two products behind the last norm of an embedding model (the dense modules of Sentence Transformers, without bias or
// activation). They are linear, so the mean of what they give is what they give of the mean. Every rank computes all of
// it.
class EmbeddingHead {
 public:
  // dense_2.weight [hidden, D], dense_3.weight [D, hidden].
  EmbeddingHead(TensorLoader& loader, int64_t width, int64_t hidden);

  // x: [rows, D]; returns [rows, D] in scratch. Takes one row of D and one of `hidden` for each row.
  Tensor Project(Device& device, Scratch& scratch, Tensor x) const;

 private:
  int64_t hidden_;
  const Matrix* widen_;
  const Matrix* narrow_;
};

}  // namespace barn
