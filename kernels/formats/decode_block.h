#pragma once

#include "kernels/formats/blocks.h"

namespace barn {

// Decodes one block to as many f32 as the type's block has elements.
void DecodeBlock(const BlockQ4_0& block, float* out);
void DecodeBlock(const BlockQ4_1& block, float* out);
void DecodeBlock(const BlockQ5_0& block, float* out);
void DecodeBlock(const BlockQ5_1& block, float* out);
void DecodeBlock(const BlockQ8_0& block, float* out);
void DecodeBlock(const BlockQ8_1& block, float* out);
void DecodeBlock(const BlockQ2_K& block, float* out);
void DecodeBlock(const BlockQ3_K& block, float* out);
void DecodeBlock(const BlockQ4_K& block, float* out);
void DecodeBlock(const BlockQ5_K& block, float* out);
void DecodeBlock(const BlockQ6_K& block, float* out);
void DecodeBlock(const BlockQ8_K& block, float* out);
void DecodeBlock(const BlockIQ2_XXS& block, float* out);
void DecodeBlock(const BlockIQ2_XS& block, float* out);
void DecodeBlock(const BlockIQ2_S& block, float* out);
void DecodeBlock(const BlockIQ3_XXS& block, float* out);
void DecodeBlock(const BlockIQ3_S& block, float* out);
void DecodeBlock(const BlockIQ1_S& block, float* out);
void DecodeBlock(const BlockIQ1_M& block, float* out);
void DecodeBlock(const BlockIQ4_NL& block, float* out);
void DecodeBlock(const BlockIQ4_XS& block, float* out);
void DecodeBlock(const BlockTQ1_0& block, float* out);
void DecodeBlock(const BlockTQ2_0& block, float* out);
void DecodeBlock(const BlockMXFP4& block, float* out);
void DecodeBlock(const BlockNVFP4& block, float* out);
void DecodeBlock(const BlockQ1_0& block, float* out);
void DecodeBlock(const BlockQ2_0& block, float* out);

// Scale and minimum of sub-block s in [0, 8) of Q4_K and Q5_K: 6 bits each, packed in 12 bytes.
struct ScaleMin {
  uint8_t scale;
  uint8_t min;
};
inline ScaleMin UnpackScaleMin(const uint8_t* scales, int s) {
  if (s < 4) return {static_cast<uint8_t>(scales[s] & 63), static_cast<uint8_t>(scales[s + 4] & 63)};
  return {static_cast<uint8_t>((scales[s + 4] & 15) | (scales[s - 4] >> 6) << 4),
          static_cast<uint8_t>((scales[s + 4] >> 4) | (scales[s] >> 6) << 4)};
}

// Scale of 16 elements, i in [0, 16), of Q3_K: 6 bits, in [-32, 31].
inline int UnpackScaleQ3(const uint8_t* scales, int i) {
  const int low = i < 8 ? scales[i] & 15 : scales[i - 8] >> 4;
  const int high = scales[8 + i % 4] >> (2 * (i / 4)) & 3;
  return (low | high << 4) - 32;
}

}  // namespace barn
