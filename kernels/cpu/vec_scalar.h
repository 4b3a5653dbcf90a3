#pragma once

#include <bit>
#include <cstdint>

#include "kernels/formats/half.h"

namespace barn {

// The vector trait with one lane: the portable path and the plainest statement of what the others do.
struct VecScalar {
  static constexpr int kLanes = 1;
  using V = float;

  static V Load(const float* p) { return *p; }
  static void Store(float* p, V v) { *p = v; }
  static V Set(float value) { return value; }
  static V Add(V a, V b) { return a + b; }
  static V Sub(V a, V b) { return a - b; }
  static V Mul(V a, V b) { return a * b; }
  static V Div(V a, V b) { return a / b; }
  static V MulAdd(V a, V b, V c) { return a * b + c; }
  // The second operand where one is NaN.
  static V Min(V a, V b) { return a < b ? a : b; }
  static V Max(V a, V b) { return a > b ? a : b; }
  static V Abs(V a) { return std::bit_cast<float>(std::bit_cast<uint32_t>(a) & 0x7fffffffu); }
  static V Round(V a) {  // To nearest even, for |a| < 2^22.
    const float shifted = a + 0x1.8p23f;
    return shifted - 0x1.8p23f;
  }
  // a * 2^n for whole n in [-126, 127].
  static V TimesPow2(V a, V n) {
    const int32_t exponent = n >= -126 && n <= 127 ? static_cast<int32_t>(n) : 0;
    return a * std::bit_cast<float>(static_cast<uint32_t>(exponent + 127) << 23);
  }
  static V SelectLess(V a, V b, V then, V otherwise) { return a < b ? then : otherwise; }
  static float Sum(V v) { return v; }
  static float MaxLane(V v) { return v; }
  static void StoreSums4(float* out, V a, V b, V c, V d) {
    out[0] = a;
    out[1] = b;
    out[2] = c;
    out[3] = d;
  }
  static V LoadHalf(const uint16_t* p) { return HalfToFloat(*p); }
  static void StoreHalf(uint16_t* p, V v) { *p = FloatToHalf(v); }
  static V SetHalf(uint16_t half) { return HalfToFloat(half); }
  static V LoadBytes(const int8_t* p) { return *p; }
  static void StoreBytes(int8_t* p, V v) { *p = static_cast<int8_t>(v); }  // Of whole numbers in [-128, 127].
  // Values at .. at + kLanes - 1 of a Q4_0 block of 32, scale * code - 8 * scale, which is exact and never -0.
  static V LoadNibbles(const uint8_t* block, int64_t at, V scale) {
    const int code = at < 16 ? block[at] & 15 : block[at - 16] >> 4;
    return scale * static_cast<float>(code) + scale * -8.0f;
  }
};

}  // namespace barn
