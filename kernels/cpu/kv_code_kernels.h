#pragma once

#include <cstdint>

#include "kernels/cpu/row_kernels.h"

// Q8_0 and Q4_0 of keys and values over one vector trait: see FloatKernels. The rules of row_kernels.h hold.
namespace barn {

template <class Vec>
struct KvCodeKernels {
  using V = typename Vec::V;
  using Row = RowKernels<Vec>;
  static constexpr int kLanes = Vec::kLanes;

  // Within +-limit; a NaN stays.
  static V Bounded(const float* x, float limit) {
    return Vec::Max(Vec::Set(-limit), Vec::Min(Vec::Set(limit), Vec::Load(x)));
  }

  // Codes are taken with what remains of a scale in f16: its inverse, 0 for a scale of 0 or NaN.
  struct Scale {
    uint16_t half;
    V inverse;
  };
  static Scale RoundScale(float scale) {
    uint16_t halves[kLanes];
    Vec::StoreHalf(halves, Vec::Set(scale));
    const V rounded = Vec::SetHalf(halves[0]);
    const V inverse = Vec::Div(Vec::Set(1.0f), rounded);
    return {halves[0], Vec::SelectLess(Vec::Set(0.0f), Vec::Abs(rounded), inverse, Vec::Set(0.0f))};
  }

  static constexpr float kQ8Limit = 127.0f * 65504.0f;
  static constexpr float kQ4Limit = 8.0f * 65504.0f;

  // 32 values.
  static void Q8Block(const float* x, int8_t* codes, uint16_t* scale) {
    V most = Vec::Set(0.0f);
    V nan = Vec::Set(0.0f);  // 0 unless one of the values is NaN, which Max passes over.
    for (int i = 0; i < 32; i += kLanes) {
      const V value = Bounded(x + i, kQ8Limit);
      most = Vec::Max(Vec::Abs(value), most);
      nan = Vec::MulAdd(value, Vec::Set(0.0f), nan);
    }
    const Scale rounded = RoundScale(Vec::MaxLane(most) / 127.0f + Vec::Sum(nan));
    *scale = rounded.half;
    for (int i = 0; i < 32; i += kLanes) {
      const V exact = Vec::Max(Vec::Mul(Bounded(x + i, kQ8Limit), rounded.inverse), Vec::Set(-127.0f));
      Vec::StoreBytes(codes + i, Vec::Round(Vec::Min(exact, Vec::Set(127.0f))));
    }
  }

  // 32 values to 16 bytes.
  static void Q4Block(const float* x, uint8_t* codes, uint16_t* scale) {
    V above = Vec::Set(0.0f);  // The largest value, and of those below 0 the largest magnitude.
    V below = Vec::Set(0.0f);
    V nan = Vec::Set(0.0f);
    for (int i = 0; i < 32; i += kLanes) {
      const V value = Bounded(x + i, kQ4Limit);
      above = Vec::Max(value, above);
      below = Vec::Max(Vec::Sub(Vec::Set(0.0f), value), below);
      nan = Vec::MulAdd(value, Vec::Set(0.0f), nan);
    }
    const float most = Vec::MaxLane(above);
    const float least = Vec::MaxLane(below);
    const Scale rounded = RoundScale((least >= most ? least : -most) / 8.0f + Vec::Sum(nan));
    *scale = rounded.half;
    int8_t bytes[32];
    for (int i = 0; i < 32; i += kLanes) {
      const V exact = Vec::Max(Vec::Mul(Bounded(x + i, kQ4Limit), rounded.inverse), Vec::Set(-8.0f));
      Vec::StoreBytes(bytes + i, Vec::Add(Vec::Round(Vec::Min(exact, Vec::Set(7.0f))), Vec::Set(8.0f)));
    }
    for (int i = 0; i < 16; ++i) codes[i] = static_cast<uint8_t>(bytes[i] | bytes[i + 16] << 4);
  }

  static void FloatsToQ8(const float* x, int8_t* codes, uint16_t* scales, int64_t n) {
    int64_t i = 0;
    for (; i + 32 <= n; i += 32) Q8Block(x + i, codes + i, scales++);
    if (i == n) return;
    float values[32] = {};
    int8_t rest[32];
    for (int64_t j = i; j < n; ++j) values[j - i] = x[j];
    Q8Block(values, rest, scales);
    for (int64_t j = i; j < n; ++j) codes[j] = rest[j - i];
  }
  static void FloatsToQ4(const float* x, uint8_t* codes, uint16_t* scales, int64_t n) {
    int64_t i = 0;
    for (; i + 32 <= n; i += 32) Q4Block(x + i, codes + i / 2, scales++);
    if (i == n) return;
    float values[32] = {};
    for (int64_t j = i; j < n; ++j) values[j - i] = x[j];
    Q4Block(values, codes + i / 2, scales);
  }

  static void Q8ToFloats(const int8_t* codes, const uint16_t* scales, float* out, int64_t n) {
    int64_t i = 0;
    for (; i + 32 <= n; i += 32) {
      const V scale = Vec::SetHalf(*scales++);
      for (int j = 0; j < 32; j += kLanes) Vec::Store(out + i + j, Vec::Mul(scale, Vec::LoadBytes(codes + i + j)));
    }
    if (i == n) return;
    int8_t rest[32] = {};
    for (int64_t j = i; j < n; ++j) rest[j - i] = codes[j];
    const V scale = Vec::SetHalf(*scales);
    for (int64_t j = i; j < n; j += kLanes) {
      const V values = Vec::Mul(scale, Vec::LoadBytes(rest + (j - i)));
      Row::StorePart(out + j, values, n - j < kLanes ? n - j : kLanes);
    }
  }
  static void Q4ToFloats(const uint8_t* codes, const uint16_t* scales, float* out, int64_t n) {
    for (int64_t i = 0; i < n; i += 32) {
      const V scale = Vec::SetHalf(*scales++);
      for (int j = 0; j < 32 && i + j < n; j += kLanes) {
        const V values = Vec::LoadNibbles(codes + i / 2, j, scale);
        if (i + j + kLanes <= n) {
          Vec::Store(out + i + j, values);
        } else {
          Row::StorePart(out + i + j, values, n - i - j);
        }
      }
    }
  }
};

}  // namespace barn
