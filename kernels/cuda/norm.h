#pragma once

#include "kernels/cuda/rows.h"
#include "kernels/cuda/stream.h"

namespace barn::gpu {

// out = (x - mean) / sqrt(mean((x - mean)^2) + epsilon) * weight + bias, where mean is 0 unless subtract_mean is set
// (LayerNorm; otherwise RMSNorm). A row's bits depend on that row alone.
struct NormArgs {
  Rows x = {};
  Rows add = {};                  // Where data is set, x += add comes first, and is stored: the residual stream.
  const float* weight = nullptr;  // f32[cols] on the device, or null: 1.
  const float* bias = nullptr;    // Likewise, or null: 0.
  float epsilon = 0;
  bool subtract_mean = false;
  Rows out = {};  // May be x, if nothing is added.
};
void Norm(const NormArgs& args, Stream stream);

}  // namespace barn::gpu
