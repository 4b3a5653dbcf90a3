#pragma once

#include <cstdint>

#include "kernels/cuda/rows.h"
#include "kernels/cuda/stream.h"
#include "kernels/cuda/weight_planes.h"

namespace barn::gpu {

// Products of F32, F16 or BF16 weights with f32 activations: routers, and models that were not quantized. A result's
// bits depend on the row of the weight and that of x alone.
struct FloatMatVecArgs {
  DeviceWeight weight;
  Rows x = {};  // x.cols == weight.cols.
  Rows out = {};
  const float* bias = nullptr;  // f32[count, rows], or null.
};

// out[t, r] = sum_k weight[0, r, k] * x[t, k] + bias[r].
void FloatMatVec(const FloatMatVecArgs& args, Stream stream);

// Row p of out is matrix experts[p] times row p / pairs_per_row of x; zeros where the expert is negative. experts:
// int32[pairs] on the device.
void RoutedFloatMatVec(const FloatMatVecArgs& args, const int32_t* experts, int64_t pairs, int64_t pairs_per_row,
                       Stream stream);

}  // namespace barn::gpu
