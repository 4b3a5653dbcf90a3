#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "kernels/device.h"
#include "worker/model/norm.h"
#include "worker/model/spec.h"
#include "worker/model/step.h"
#include "worker/model/tensor_loader.h"

namespace barn {

// What a model's first layer reads: the embedding of each token, scaled, and for encoders those of its position and
// type, normed.
class Input {
 public:
  Input(TensorLoader& loader, const ModelSpec& spec);

  // tokens, positions: [T]; x: [T, D]. Takes one tensor of x's shape from scratch. adapters: null where no row has any.
  void Embed(Device& device, Scratch& scratch, std::span<const int32_t> tokens, std::span<const int32_t> positions,
             const StepAdapters* adapters, Tensor x);

 private:
  void FindTypes(std::span<const int32_t> tokens, std::span<const int32_t> positions);

  float scale_;
  const Matrix* tokens_;
  const Matrix* positions_;
  const Matrix* types_;
  std::optional<Norm> norm_;
  int64_t separator_;
  std::vector<int32_t> type_ids_;  // [T]
};

}  // namespace barn
