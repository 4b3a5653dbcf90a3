#include "kernels/formats/decode_block.h"
#include "kernels/formats/half.h"

// Super-blocks of 256 elements with scales for 16 or 32 of them, and the ternary types.
// 2-bit planes: element 128 h + 32 j + l is bits 2j, 2j + 1 of byte 32 h + l.
namespace barn {

// Low nibble of a scale byte times d is the scale, high nibble times dmin the minimum, of 16 elements.
void DecodeBlock(const BlockQ2_K& block, float* out) {
  const float d = HalfToFloat(block.d);
  const float dmin = HalfToFloat(block.dmin);
  for (int i = 0; i < 16; ++i) {
    const float scale = d * static_cast<float>(block.scales[i] & 15);
    const float min = dmin * static_cast<float>(block.scales[i] >> 4);
    const uint8_t* qs = block.qs + 32 * (i / 8) + 16 * (i % 2);
    const int shift = 2 * (i % 8 / 2);
    for (int l = 0; l < 16; ++l) out[16 * i + l] = scale * static_cast<float>(qs[l] >> shift & 3) - min;
  }
}

// A third bit in hmask: bit 4h + j of byte l; clear means 4 less.
void DecodeBlock(const BlockQ3_K& block, float* out) {
  const float d = HalfToFloat(block.d);
  for (int i = 0; i < 16; ++i) {
    const float scale = d * static_cast<float>(UnpackScaleQ3(block.scales, i));
    const uint8_t* qs = block.qs + 32 * (i / 8) + 16 * (i % 2);
    const uint8_t* high = block.hmask + 16 * (i % 2);
    const int shift = 2 * (i % 8 / 2);
    for (int l = 0; l < 16; ++l) {
      const int q = (qs[l] >> shift & 3) + 4 * (high[l] >> (i / 2) & 1) - 4;
      out[16 * i + l] = scale * static_cast<float>(q);
    }
  }
}

namespace {

// Q4_K and Q5_K: sub-block s of 32 is the low (s even) or high nibbles of bytes 32 (s / 2) onwards, with a scale and a
// minimum of its own. fifth_bit(s, l): 0 or 16.
template <class Block, class FifthBit>
void DecodeNibbles(const Block& block, float* out, FifthBit fifth_bit) {
  const float d = HalfToFloat(block.d);
  const float dmin = HalfToFloat(block.dmin);
  for (int s = 0; s < 8; ++s) {
    const ScaleMin packed = UnpackScaleMin(block.scales, s);
    const float scale = d * static_cast<float>(packed.scale);
    const float min = dmin * static_cast<float>(packed.min);
    const uint8_t* qs = block.qs + 32 * (s / 2);
    const int shift = 4 * (s % 2);
    for (int l = 0; l < 32; ++l) {
      const int q = (qs[l] >> shift & 15) | fifth_bit(s, l);
      out[32 * s + l] = scale * static_cast<float>(q) - min;
    }
  }
}

}  // namespace

void DecodeBlock(const BlockQ4_K& block, float* out) {
  DecodeNibbles(block, out, [](int, int) { return 0; });
}

// The fifth bit: bit s of qh[l].
void DecodeBlock(const BlockQ5_K& block, float* out) {
  DecodeNibbles(block, out, [&](int s, int l) { return (block.qh[l] >> s & 1) << 4; });
}

// Element 128 h + 32 j + l: low nibble from ql[64 h + 32 (j % 2) + l], upper two bits from the 2-bit plane qh; 32 less.
void DecodeBlock(const BlockQ6_K& block, float* out) {
  const float d = HalfToFloat(block.d);
  for (int i = 0; i < 16; ++i) {
    const int h = i / 8;
    const int j = i % 8 / 2;
    const float scale = d * static_cast<float>(block.scales[i]);
    const uint8_t* low = block.ql + 64 * h + 32 * (j % 2) + 16 * (i % 2);
    const uint8_t* high = block.qh + 32 * h + 16 * (i % 2);
    for (int l = 0; l < 16; ++l) {
      const int q = (low[l] >> (4 * (j / 2)) & 15) + 16 * (high[l] >> (2 * j) & 3) - 32;
      out[16 * i + l] = scale * static_cast<float>(q);
    }
  }
}

void DecodeBlock(const BlockQ8_K& block, float* out) {
  const float d = block.d;
  for (int e = 0; e < 256; ++e) out[e] = d * static_cast<float>(block.qs[e]);
}

namespace {

constexpr uint8_t kPowersOf3[] = {1, 3, 9, 27, 81};

// A byte holds up to five base-3 digits as a fraction of 256: multiplying by 3 moves the next digit to the carry.
float Trit(uint8_t byte, int n) {
  const uint8_t shifted = static_cast<uint8_t>(byte * kPowersOf3[n]);
  return static_cast<float>((shifted * 3 >> 8) - 1);
}

}  // namespace

void DecodeBlock(const BlockTQ1_0& block, float* out) {
  const float d = HalfToFloat(block.d);
  for (int n = 0; n < 5; ++n) {
    for (int l = 0; l < 32; ++l) *out++ = d * Trit(block.qs[l], n);
  }
  for (int n = 0; n < 5; ++n) {
    for (int l = 0; l < 16; ++l) *out++ = d * Trit(block.qs[32 + l], n);
  }
  for (int n = 0; n < 4; ++n) {
    for (int l = 0; l < 4; ++l) *out++ = d * Trit(block.qh[l], n);
  }
}

void DecodeBlock(const BlockTQ2_0& block, float* out) {
  const float d = HalfToFloat(block.d);
  for (int h = 0; h < 2; ++h) {
    for (int j = 0; j < 4; ++j) {
      for (int l = 0; l < 32; ++l) *out++ = d * static_cast<float>((block.qs[32 * h + l] >> (2 * j) & 3) - 1);
    }
  }
}

}  // namespace barn
