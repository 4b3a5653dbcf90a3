#pragma once

#include "kernels/cuda/gpu.h"
#include "kernels/cuda/rows.h"

namespace barn::gpu {

// Neighbouring columns of a row, zeros behind its end.
struct Four {
  float v[4];
};

// Columns c .. c + 3. wide: see IsWide. These loads are for rows that this kernel may write as well.
__device__ __forceinline__ Four LoadFour(const float* row, uint32_t c, uint32_t cols, bool wide) {
  if (wide) {
    const float4 loaded = LdStream(reinterpret_cast<const float4*>(row + c));
    return {{loaded.x, loaded.y, loaded.z, loaded.w}};
  }
  Four four = {{0, 0, 0, 0}};
  BARN_UNROLL for (uint32_t i = 0; i < 4; ++i) {
    if (c + i < cols) four.v[i] = LdStream(row + c + i);
  }
  return four;
}

__device__ __forceinline__ void StoreFour(float* row, uint32_t c, uint32_t cols, bool wide, const Four& four) {
  if (wide) {
    St(reinterpret_cast<float4*>(row + c), make_float4(four.v[0], four.v[1], four.v[2], four.v[3]));
    return;
  }
  BARN_UNROLL for (uint32_t i = 0; i < 4; ++i) {
    if (c + i < cols) St(row + c + i, four.v[i]);
  }
}

// The sum, or the largest, of a value over the lanes of a warp, the same bits in all of them.
__device__ __forceinline__ float WarpSum(float value BARN_SITE_PARAM) {
  BARN_UNROLL for (int bits = 16; bits > 0; bits /= 2) value += __shfl_xor_sync(0xffffffff, value, bits BARN_SITE);
  return value;
}
__device__ __forceinline__ float WarpMax(float value BARN_SITE_PARAM) {
  BARN_UNROLL for (int bits = 16; bits > 0; bits /= 2) {
    value = fmaxf(value, __shfl_xor_sync(0xffffffff, value, bits BARN_SITE));
  }
  return value;
}

}  // namespace barn::gpu
