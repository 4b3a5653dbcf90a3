#include "kernels/formats/codebooks.h"
#include "kernels/formats/decode_block.h"
#include "kernels/formats/half.h"

// Types with one scale per 32 to 128 elements. Nibbles: element j is the low half of byte j, element j + 16 the high
// half.
namespace barn {

// d * (q - 8)
void DecodeBlock(const BlockQ4_0& block, float* out) {
  const float d = HalfToFloat(block.d);
  for (int j = 0; j < 16; ++j) {
    out[j] = d * static_cast<float>((block.qs[j] & 15) - 8);
    out[j + 16] = d * static_cast<float>((block.qs[j] >> 4) - 8);
  }
}

// d * q + m
void DecodeBlock(const BlockQ4_1& block, float* out) {
  const float d = HalfToFloat(block.d);
  const float m = HalfToFloat(block.m);
  for (int j = 0; j < 16; ++j) {
    out[j] = d * static_cast<float>(block.qs[j] & 15) + m;
    out[j + 16] = d * static_cast<float>(block.qs[j] >> 4) + m;
  }
}

// Bit e of qh is bit 4 of element e. d * (q - 16)
void DecodeBlock(const BlockQ5_0& block, float* out) {
  const float d = HalfToFloat(block.d);
  const uint32_t qh = block.qh;
  for (int j = 0; j < 16; ++j) {
    out[j] = d * static_cast<float>(static_cast<int>((block.qs[j] & 15) | (qh >> j & 1) << 4) - 16);
    out[j + 16] = d * static_cast<float>(static_cast<int>((block.qs[j] >> 4) | (qh >> (j + 16) & 1) << 4) - 16);
  }
}

// Bit e of qh is bit 4 of element e. d * q + m
void DecodeBlock(const BlockQ5_1& block, float* out) {
  const float d = HalfToFloat(block.d);
  const float m = HalfToFloat(block.m);
  const uint32_t qh = block.qh;
  for (int j = 0; j < 16; ++j) {
    out[j] = d * static_cast<float>((block.qs[j] & 15) | (qh >> j & 1) << 4) + m;
    out[j + 16] = d * static_cast<float>((block.qs[j] >> 4) | (qh >> (j + 16) & 1) << 4) + m;
  }
}

void DecodeBlock(const BlockQ8_0& block, float* out) {
  const float d = HalfToFloat(block.d);
  for (int j = 0; j < 32; ++j) out[j] = d * static_cast<float>(block.qs[j]);
}

void DecodeBlock(const BlockQ8_1& block, float* out) {
  const float d = HalfToFloat(block.d);
  for (int j = 0; j < 32; ++j) out[j] = d * static_cast<float>(block.qs[j]);
}

// d * codebook[q], nibbles as Q4_0.
void DecodeBlock(const BlockIQ4_NL& block, float* out) {
  const float d = HalfToFloat(block.d);
  for (int j = 0; j < 16; ++j) {
    out[j] = d * static_cast<float>(kIq4Values[block.qs[j] & 15]);
    out[j + 16] = d * static_cast<float>(kIq4Values[block.qs[j] >> 4]);
  }
}

// 2^(e - 127) * fp4 (OCP microscaling), nibbles as Q4_0.
void DecodeBlock(const BlockMXFP4& block, float* out) {
  const float half_scale = E8m0HalfToFloat(block.e);
  for (int j = 0; j < 16; ++j) {
    out[j] = half_scale * static_cast<float>(kFp4Doubled[block.qs[j] & 15]);
    out[j + 16] = half_scale * static_cast<float>(kFp4Doubled[block.qs[j] >> 4]);
  }
}

// Four groups of 16 with a scale each; within a group, element j is the low half of byte j, element j + 8 the high
// half.
void DecodeBlock(const BlockNVFP4& block, float* out) {
  for (int group = 0; group < 4; ++group) {
    const float half_scale = 0.5f * Ue4m3ToFloat(block.scales[group]);
    for (int j = 0; j < 8; ++j) {
      const uint8_t byte = block.qs[8 * group + j];
      out[16 * group + j] = half_scale * static_cast<float>(kFp4Doubled[byte & 15]);
      out[16 * group + j + 8] = half_scale * static_cast<float>(kFp4Doubled[byte >> 4]);
    }
  }
}

// Bit e set: +d, else -d.
void DecodeBlock(const BlockQ1_0& block, float* out) {
  const float d = HalfToFloat(block.d);
  for (int e = 0; e < 128; ++e) out[e] = (block.qs[e / 8] >> (e % 8) & 1) != 0 ? d : -d;
}

// Two bits each, in order: d * (q - 1).
void DecodeBlock(const BlockQ2_0& block, float* out) {
  const float d = HalfToFloat(block.d);
  for (int e = 0; e < 64; ++e) out[e] = d * static_cast<float>((block.qs[e / 4] >> (2 * (e % 4)) & 3) - 1);
}

}  // namespace barn
