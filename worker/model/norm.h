#pragma once

#include <string_view>

#include "kernels/device.h"
#include "worker/model/spec.h"
#include "worker/model/tensor_loader.h"

namespace barn {

// RMS norm or LayerNorm over a row, with the weight `name`.weight and, where the spec says so, `name`.bias.
class Norm {
 public:
  Norm(TensorLoader& loader, const NormSpec& spec, std::string_view name, int64_t width);

  // x and out: [T, width]; may be the same.
  void Apply(Device& device, Tensor x, Tensor out) const;

 private:
  NormSpec spec_;
  const float* weight_;
  const float* bias_;
};

}  // namespace barn
