#pragma once

#include <cstdint>

#include "kernels/cuda/rows.h"
#include "kernels/cuda/stream.h"

namespace barn::gpu {

// Rotates pair i of every head by positions[t] * inverse_frequencies[i] radians (RoPE, Su et al. 2021, section 3.4.2)
// and multiplies it by magnitude. The angle is formed in f64, so that long contexts lose nothing. Pairs are (2i, 2i +
// 1) where neighbours is set, else (i, i + width / 2), counted from column `offset` of a head.
struct RopeArgs {
  Rows x = {};  // [T, heads * head_width], in place.
  int64_t heads = 0;
  int64_t head_width = 0;
  int64_t offset = 0;
  int64_t width = 0;  // Even.
  bool neighbours = false;
  const int32_t* positions = nullptr;          // [T], on the device, as is:
  const float* inverse_frequencies = nullptr;  // [width / 2]
  float magnitude = 1;
  // Where weight or unit_norm is set, every head is first divided by sqrt(mean(x^2) + epsilon) and multiplied by
  // weight, f32[head_width] (QK-norm): one pass over memory for both.
  const float* weight = nullptr;
  bool unit_norm = false;
  float epsilon = 0;
};
void Rope(const RopeArgs& args, Stream stream);

}  // namespace barn::gpu
