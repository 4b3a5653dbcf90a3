#include "kernels/formats/codebooks.h"
#include "kernels/formats/decode_block.h"
#include "kernels/formats/half.h"

// Lattice types: 256 elements in 8 groups of 32; 4 or 8 consecutive elements are a point of a fixed grid.
namespace barn {
namespace {

// width coordinates of a grid point, times scale, negated where a bit of signs is set.
void PutSigned(uint64_t point, int width, uint8_t signs, float scale, float* out) {
  for (int k = 0; k < width; ++k) {
    const float value = scale * static_cast<float>(point >> (8 * k) & 255);
    out[k] = (signs >> k & 1) != 0 ? -value : value;
  }
}

}  // namespace

// Per group of 32: four grid indices; then four times 7 sign bits and a scale of 4 bits on top.
void DecodeBlock(const BlockIQ2_XXS& block, float* out) {
  const float d = HalfToFloat(block.d);
  for (const BlockIQ2_XXS::Group& group : block.groups) {
    const uint32_t a = group.signs_and_scale;
    const float scale = d * (0.5f + static_cast<float>(a >> 28)) * 0.25f;
    for (int l = 0; l < 4; ++l, out += 8)
      PutSigned(kIq2XxsGrid.points[group.grid[l]], 8, EvenSigns(a >> (7 * l)), scale, out);
  }
}

// Per 8 elements: 9 bits of grid index and 7 sign bits; per 16 elements a scale of 4 bits.
void DecodeBlock(const BlockIQ2_XS& block, float* out) {
  const float d = HalfToFloat(block.d);
  for (int i = 0; i < 32; ++i, out += 8) {
    const uint16_t word = block.qs[i];
    const int nibble = block.scales[i / 4] >> (4 * (i % 4 / 2)) & 15;
    const float scale = d * (0.5f + static_cast<float>(nibble)) * 0.25f;
    PutSigned(kIq2XsGrid.points[word & 511], 8, EvenSigns(word >> 9), scale, out);
  }
}

// Per 8 elements: 10 bits of grid index and all 8 signs; per 16 elements a scale of 4 bits.
void DecodeBlock(const BlockIQ2_S& block, float* out) {
  const float d = HalfToFloat(block.d);
  for (int i = 0; i < 32; ++i, out += 8) {
    const int index = block.qs[i] | (block.qh[i / 4] >> (2 * (i % 4)) & 3) << 8;
    const int nibble = block.scales[i / 4] >> (4 * (i % 4 / 2)) & 15;
    const float scale = d * (0.5f + static_cast<float>(nibble)) * 0.25f;
    PutSigned(kIq2SGrid.points[index], 8, block.signs[i], scale, out);
  }
}

// Points of 4; per group of 32 a word of four times 7 sign bits and a scale of 4 bits.
void DecodeBlock(const BlockIQ3_XXS& block, float* out) {
  const float d = HalfToFloat(block.d);
  for (int i = 0; i < 32; ++i, out += 8) {
    const uint32_t a = block.signs_and_scale[i / 4];
    const float scale = d * (0.5f + static_cast<float>(a >> 28)) * 0.5f;
    const uint8_t signs = EvenSigns(a >> (7 * (i % 4)));
    PutSigned(kIq3XxsGrid.points[block.qs[2 * i]], 4, signs, scale, out);
    PutSigned(kIq3XxsGrid.points[block.qs[2 * i + 1]], 4, signs >> 4, scale, out + 4);
  }
}

// Points of 4 with 9 bits of index and all signs; per group of 32 a scale of 4 bits, odd multiples of d.
void DecodeBlock(const BlockIQ3_S& block, float* out) {
  const float d = HalfToFloat(block.d);
  for (int i = 0; i < 32; ++i, out += 8) {
    const int group = i / 4;
    const int nibble = block.scales[group / 2] >> (4 * (group % 2)) & 15;
    const float scale = d * static_cast<float>(1 + 2 * nibble);
    const int high = block.qh[group] >> (2 * (i % 4));
    PutSigned(kIq3SGrid.points[block.qs[2 * i] | (high & 1) << 8], 4, block.signs[i], scale, out);
    PutSigned(kIq3SGrid.points[block.qs[2 * i + 1] | (high & 2) << 7], 4, block.signs[i] >> 4, scale, out + 4);
  }
}

namespace {

// A ternary point shifted by an eighth up or down.
void PutTernary(int index, bool shift_down, float scale, float* out) {
  const float shift = shift_down ? -0.125f : 0.125f;
  const uint64_t point = kIq1Grid.points[index];
  for (int k = 0; k < 8; ++k) out[k] = scale * (static_cast<float>(static_cast<int8_t>(point >> (8 * k))) + shift);
}

}  // namespace

// Per group of 32 a word: three upper index bits for each of four points, a scale of 3 bits, the sign of the shift.
void DecodeBlock(const BlockIQ1_S& block, float* out) {
  const float d = HalfToFloat(block.d);
  for (int i = 0; i < 32; ++i, out += 8) {
    const uint16_t word = block.qh[i / 4];
    const float scale = d * static_cast<float>(2 * (word >> 12 & 7) + 1);
    PutTernary(block.qs[i] | (word >> (3 * (i % 4)) & 7) << 8, (word >> 15) != 0, scale, out);
  }
}

// Per point a nibble: three upper index bits and the sign of the shift. Scales of 3 bits for 16 elements; the top
// nibbles of the four scale words are the f16 scale of the block.
void DecodeBlock(const BlockIQ1_M& block, float* out) {
  uint32_t half = 0;
  for (int w = 0; w < 4; ++w) half |= static_cast<uint32_t>(block.scales[w] >> 12) << (4 * w);
  const float d = HalfToFloat(static_cast<uint16_t>(half));
  for (int i = 0; i < 32; ++i, out += 8) {
    const int group = i / 4;
    const int bits = block.scales[group / 2] >> (6 * (group % 2) + 3 * (i % 4 / 2)) & 7;
    const int nibble = block.qh[i / 2] >> (4 * (i % 2)) & 15;
    PutTernary(block.qs[i] | (nibble & 7) << 8, (nibble & 8) != 0, d * static_cast<float>(2 * bits + 1), out);
  }
}

// Groups of 32 with nibbles as IQ4_NL and a signed scale of 6 bits.
void DecodeBlock(const BlockIQ4_XS& block, float* out) {
  const float d = HalfToFloat(block.d);
  for (int group = 0; group < 8; ++group, out += 32) {
    const int low = block.scales_l[group / 2] >> (4 * (group % 2)) & 15;
    const int high = block.scales_h >> (2 * group) & 3;
    const float scale = d * static_cast<float>((low | high << 4) - 32);
    const uint8_t* qs = block.qs + 16 * group;
    for (int j = 0; j < 16; ++j) {
      out[j] = scale * static_cast<float>(kIq4Values[qs[j] & 15]);
      out[j + 16] = scale * static_cast<float>(kIq4Values[qs[j] >> 4]);
    }
  }
}

}  // namespace barn
