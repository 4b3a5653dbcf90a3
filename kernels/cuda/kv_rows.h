#pragma once

#include <cstdint>

#include "kernels/cuda/rows.h"
#include "kernels/cuda/stream.h"
#include "kernels/formats/kv_type.h"

namespace barn::gpu {

// The KvLayer of kernels/device.h: keys and values of one layer in blocks, on the device.
struct KvPlanes {
  KvType type = KvType::kF16;
  void* k = nullptr;
  void* v = nullptr;
  uint16_t* k_scales = nullptr;
  uint16_t* v_scales = nullptr;
  int64_t block_tokens = 0;
  int64_t kv_heads = 0;
  int64_t k_width = 0;
  int64_t v_width = 0;
  bool v_is_k_prefix = false;
};

// Where the rows of a step stand, in arrays on the device, so that a graph that was captured once serves every step.
struct StepRows {
  const int32_t* positions = nullptr;    // [T]; negative: the row belongs to no sequence.
  const int32_t* table_begin = nullptr;  // [T]: blocks[table_begin[t] + i] is block i of the row's sequence.
  const int32_t* blocks = nullptr;
};

// Writes rows of k [T, kv_heads * k_width] and v (not read with v_is_k_prefix) to their blocks, rounded as
// Device::WriteKv of the CPU does it: f16 values beyond the largest finite half become that half.
void WriteKv(const KvPlanes& kv, const StepRows& step, Rows k, Rows v, Stream stream);

// Copies block pairs[2i] over block pairs[2i + 1] of every plane, for i in [0, count). pairs: on the device; no block
// is both read and written.
void CopyKvBlocks(const KvPlanes& kv, const int32_t* pairs, int64_t count, Stream stream);

}  // namespace barn::gpu
