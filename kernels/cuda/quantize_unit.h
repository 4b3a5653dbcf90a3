#pragma once

#include "kernels/cuda/activation_planes.h"
#include "kernels/cuda/gpu.h"

namespace barn::gpu {

// Four neighbouring columns to a lane, so that eight lanes, the first a multiple of 8, round one unit of 32 together.
struct QuantizedFour {
  uint32_t codes;   // Four int8, the first in the lowest byte.
  UnitScale scale;  // The same in all eight lanes.
};

// All lanes of the warp must call it.
__device__ __forceinline__ QuantizedFour QuantizeUnit(const float (&x)[4] BARN_SITE_PARAM) {
  float largest = 0;
  bool is_number = true;
  BARN_UNROLL for (int i = 0; i < 4; ++i) {
    largest = fmaxf(largest, fabsf(x[i]));
    is_number = is_number && x[i] == x[i];
  }
  if (!is_number) largest = INFINITY;  // fmaxf drops a NaN.
  BARN_UNROLL for (int bits = 4; bits > 0; bits /= 2) {
    largest = fmaxf(largest, __shfl_xor_sync(0xffffffff, largest, bits BARN_SITE));
  }
  const float scale = largest < 1e-30f ? 0.0f : largest / 127.0f;
  const float inverse = largest < 1e-30f ? 0.0f : 127.0f / largest;
  int sum = 0;
  QuantizedFour result;
  result.codes = 0;
  BARN_UNROLL for (int i = 0; i < 4; ++i) {
    const int code = largest < INFINITY ? __float2int_rn(x[i] * inverse) : 0;
    sum += code;
    result.codes |= static_cast<uint32_t>(code & 255) << (8 * i);
  }
  BARN_UNROLL for (int bits = 2; bits > 0; bits /= 2) sum += __shfl_xor_sync(0xffffffff, sum, bits BARN_SITE);
  const int other = __shfl_xor_sync(0xffffffff, sum, 4 BARN_SITE);
  const bool first = threadIdx.x % 8 < 4;
  result.scale.scale = scale;
  result.scale.sums[0] = static_cast<int16_t>(first ? sum : other);
  result.scale.sums[1] = static_cast<int16_t>(first ? other : sum);
  return result;
}

}  // namespace barn::gpu
