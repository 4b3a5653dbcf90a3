#pragma once

#include <cstdint>

#include "kernels/cpu/isa.h"
#include "kernels/device.h"

namespace barn {

// Rows [row_begin, row_end) of Device::RmsNorm and Device::LayerNorm. A row's bits depend on that row alone.
// x and out have the same shape and may alias; weight and bias are f32[cols] or null (1 and 0).
void RmsNormRows(Isa isa, Tensor x, const float* weight, float eps, Tensor out, int64_t row_begin, int64_t row_end);
void LayerNormRows(Isa isa, Tensor x, const float* weight, const float* bias, float eps, Tensor out, int64_t row_begin,
                   int64_t row_end);

}  // namespace barn
