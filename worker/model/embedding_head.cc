#include "worker/model/embedding_head.h"

namespace barn {

EmbeddingHead::EmbeddingHead(TensorLoader& loader, int64_t width, int64_t hidden)
    : hidden_(hidden),
      widen_(loader.Matrix("dense_2.weight", {.rows = hidden, .cols = width})),
      narrow_(loader.Matrix("dense_3.weight", {.rows = width, .cols = hidden})) {}

Tensor EmbeddingHead::Project(Device& device, Scratch& scratch, Tensor x) const {
  const Tensor hidden = scratch.Take(x.rows, hidden_);
  const Projection widen[] = {{widen_, nullptr, hidden}};
  device.MatMul(widen, x);
  const Tensor out = scratch.Take(x.rows, x.cols);
  const Projection narrow[] = {{narrow_, nullptr, out}};
  device.MatMul(narrow, hidden);
  return out;
}

}  // namespace barn
