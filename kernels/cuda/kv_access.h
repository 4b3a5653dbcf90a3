#pragma once

#include "kernels/cuda/gpu.h"
#include "kernels/cuda/kv_rows.h"

namespace barn::gpu {

// KvScales of a row, and with Q4_0 its bytes of codes, for kernels.
__device__ __forceinline__ int64_t ScalesOfRow(int64_t width) { return (width + kKvScaleSpan - 1) / kKvScaleSpan; }
__device__ __forceinline__ int64_t NibbleBytesOfRow(int64_t width) { return 16 * ScalesOfRow(width); }

// The row of a plane, counted in heads' rows, of a position whose sequence has the block table `blocks`.
__device__ __forceinline__ int64_t KvRow(const KvPlanes& kv, const int32_t* blocks, int32_t position, int64_t kv_head) {
  const auto block_tokens = static_cast<int32_t>(kv.block_tokens);
  const int32_t block = position / block_tokens;
  return (Ld(blocks + block) * kv.kv_heads + kv_head) * kv.block_tokens + (position - block * block_tokens);
}

}  // namespace barn::gpu
