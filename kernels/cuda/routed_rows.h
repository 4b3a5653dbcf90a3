#pragma once

#include <cstdint>

#include "kernels/cuda/rows.h"
#include "kernels/cuda/stream.h"

// The rows of pairs of a token and an expert: pair p is of token p / k. Arrays of pairs are on the device.
namespace barn::gpu {

// out[p] = weights[p] * x[p / k], for every row of out.
void SpreadRows(Rows x, const float* weights, int64_t k, Rows out, Stream stream);

// out[t] = sum of weights[p] * results[p] over the pairs of t, in their order; those whose expert is negative are left
// out. weights null: 1.
void SumRows(Rows results, const int32_t* experts, const float* weights, int64_t k, Rows out, Stream stream);

// x[p] += bias[experts[p]]; bias: f32[experts, x.cols].
void AddExpertBias(Rows x, const float* bias, const int32_t* experts, Stream stream);

}  // namespace barn::gpu
