#pragma once

#include <cstdint>

#include "kernels/cuda/activation_planes.h"
#include "kernels/cuda/stream.h"
#include "kernels/cuda/weight_planes.h"

namespace barn::gpu {

inline constexpr int kMatVecColumnsMax = 8;

// out[t, r] = sum_k weight[e, r, k] * x[t, k] + bias[e, r], for a few rows of activations: the weight is read once for
// all of them. out: row t at out + t * out_stride. bias: f32[count, rows] or null.
struct MatVecArgs {
  DeviceWeight weight;  // Any format that has planes, but F32, F16 and BF16.
  ActivationPlanes x;   // x.cols == weight.cols.
  float* out = nullptr;
  int64_t out_stride = 0;
  const float* bias = nullptr;
};

// Of matrix 0. x.rows in [1, kMatVecColumnsMax].
void MatVec(const MatVecArgs& args, Stream stream);

// Pair p of a token and an expert: row p of out is matrix experts[p] times row p / pairs_per_row of x; zeros where the
// expert is negative. experts: int32[pairs] in device memory; pairs_per_row is the tokens' expert count where all of
// them read the token's row, 1 where each pair has a row of its own.
void RoutedMatVec(const MatVecArgs& args, const int32_t* experts, int64_t pairs, int64_t pairs_per_row, Stream stream);

}  // namespace barn::gpu
