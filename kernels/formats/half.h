#pragma once

#include <bit>
#include <cstdint>

namespace barn {

// IEEE binary16 to f32, exact. Subnormals, infinities and NaN included.
inline float HalfToFloat(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t magnitude = half & 0x7fff;
  if (magnitude >= 0x7c00) return std::bit_cast<float>(sign | 0x7f800000 | (magnitude & 0x3ff) << 13);
  // The exponent bias differs by 112; multiplying by 2^112 also normalizes subnormals.
  const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112f;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(scaled) | sign);
}

// f32 to binary16, rounded to nearest even; too large becomes infinity, NaN stays NaN.
inline uint16_t FloatToHalf(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x47800000) return sign | 0x7c00;  // 65536 and above.
  if (magnitude < 0x38800000) {                       // Below 2^-14: subnormal; adding 0.5 rounds to units of 2^-24.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000));
  }
  const uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
  return static_cast<uint16_t>(sign | ((rounded >> 13) - (112 << 10)));
}

// bfloat16 is the upper half of an f32.
inline float Bf16ToFloat(uint16_t value) { return std::bit_cast<float>(static_cast<uint32_t>(value) << 16); }

// f32 to bfloat16, rounded to nearest even; NaN stays NaN.
inline uint16_t FloatToBf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// Half the scale of an MXFP4 block, 2^(exponent - 128): the other factor, twice an FP4 value, is then an integer.
inline float E8m0HalfToFloat(uint8_t exponent) {
  return std::bit_cast<float>(exponent < 2 ? 0x00200000u << exponent : static_cast<uint32_t>(exponent - 1) << 23);
}

// The scale byte of NVFP4: 4 exponent bits of bias 7 and 3 mantissa bits, no sign. 0x7f, NaN in E4M3, counts as 0.
inline float Ue4m3ToFloat(uint8_t value) {
  if (value == 0 || value == 0x7f) return 0.0f;
  const int exponent = value >> 3 & 15;
  const float mantissa = static_cast<float>(value & 7);
  if (exponent == 0) return mantissa * 0x1p-9f;
  return (1.0f + mantissa / 8) * std::bit_cast<float>(static_cast<uint32_t>(exponent + 120) << 23);
}

}  // namespace barn
