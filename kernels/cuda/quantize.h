#pragma once

#include <cstdint>

#include "kernels/cuda/activation_planes.h"
#include "kernels/cuda/stream.h"

namespace barn::gpu {

// Rounds rows of f32 to int8 with one scale for each 32: scale = largest magnitude / 127, codes to nearest even, as the
// CPU does it. What is below 1e-30 becomes zero; a NaN or an infinity makes the scale NaN or infinite. x: row r at
// x + r * stride; out.rows rows of out.cols values.
void Quantize(const float* x, int64_t stride, const ActivationPlanes& out, Stream stream);

}  // namespace barn::gpu
