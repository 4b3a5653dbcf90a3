#pragma once

#include <string.h>

#include "kernels/cpu/kernel_table.h"

// f32 dot products and the rounding of activations: one driver over the instruction set.
//
// A dot product is defined as 16 sums, sum[k % 16] = fma(weight[k], x[k], sum[k % 16]), folded to eight by adding
// sum[i + 8] to sum[i], then ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7)) + bias: the same bits on every set.

namespace barn {
namespace {

// How sixteen weights of each plain type become f32.
template <class Isa>
struct F32Row {
  static constexpr size_t kBytes = 4;
  static typename Isa::Wide Load(const uint8_t* p) { return Isa::WideLoadBytes(p); }
};
template <class Isa>
struct F16Row {
  static constexpr size_t kBytes = 2;
  static typename Isa::Wide Load(const uint8_t* p) { return Isa::WideLoadHalves(p); }
};
template <class Isa>
struct Bf16Row {
  static constexpr size_t kBytes = 2;
  static typename Isa::Wide Load(const uint8_t* p) { return Isa::WideLoadBf16(p); }
};

template <class Isa, class Row, int kTokens>
void FloatRowTimesTokens(const FloatRowArgs& a, size_t token) {
  const float* x[kTokens];
  typename Isa::Wide sums[kTokens];
  for (int t = 0; t < kTokens; ++t) {
    const size_t row = a.index == nullptr ? token + t : static_cast<size_t>(a.index[token + t]);
    x[t] = a.x + row * a.x_stride;
    sums[t] = Isa::WideZero();
  }
  const size_t whole = a.cols / 16 * 16;
  for (size_t k = 0; k < whole; k += 16) {
    const typename Isa::Wide weight = Row::Load(a.weight + k * Row::kBytes);
    for (int t = 0; t < kTokens; ++t) sums[t] = Isa::WideMulAdd(weight, Isa::WideLoad(x[t] + k), sums[t]);
  }
  if (whole < a.cols) {
    const size_t rest = a.cols - whole;
    uint8_t padded[16 * Row::kBytes] = {};
    memcpy(padded, a.weight + whole * Row::kBytes, rest * Row::kBytes);
    const typename Isa::Wide weight = Row::Load(padded);
    for (int t = 0; t < kTokens; ++t) {
      float padded_x[16] = {};
      memcpy(padded_x, x[t] + whole, rest * sizeof(float));
      sums[t] = Isa::WideMulAdd(weight, Isa::WideLoad(padded_x), sums[t]);
    }
  }
  for (int t = 0; t < kTokens; ++t) a.out[(token + t) * a.out_stride] = Isa::WideSum(sums[t]) + a.bias;
}

template <class Isa, class Row>
void FloatRow(const FloatRowArgs& a) {
  size_t token = 0;
  for (; token + 4 <= a.tokens; token += 4) FloatRowTimesTokens<Isa, Row, 4>(a, token);
  for (; token < a.tokens; ++token) FloatRowTimesTokens<Isa, Row, 1>(a, token);
}

// Magnitudes compare like the integers that hold them, NaN above all.
inline float LargerMagnitude(float a, float b) {
  uint32_t bits[2];
  memcpy(&bits[0], &a, sizeof(a));
  memcpy(&bits[1], &b, sizeof(b));
  return bits[0] > bits[1] ? a : b;
}

// Blocks of 32, or the 8 of a chunk together: scale = largest magnitude / 127, code = x / scale rounded to nearest
// even. What is below 1e-30 becomes zero, so that 127 / largest is finite; a NaN or an infinity makes the scale NaN or
// infinite and so shows in every result.
template <class Isa>
void QuantizeRow(const QuantizeRowArgs& a) {
  const size_t blocks = a.cols / 32;
  float largest = 0;
  for (size_t b = 0; b < blocks; ++b) {
    const float* x = a.x + 32 * b;
    if (a.span == ScaleSpan::kBlock) {
      largest = Isa::LargestMagnitude(x);
    } else if (b % 8 == 0) {
      largest = 0;
      for (size_t i = b; i < blocks && i < b + 8; ++i) {
        largest = LargerMagnitude(largest, Isa::LargestMagnitude(a.x + 32 * i));
      }
    }
    const float scale = largest < 1e-30f ? 0.0f : largest / 127.0f;
    const float inverse = largest < 1e-30f ? 0.0f : 127.0f / largest;
    int16_t* sums16 = a.sums16 + 2 * b;
    Isa::RoundBlock(x, inverse, a.codes + 32 * b, sums16);
    a.scales[b] = scale;
    a.sums[b] = scale * static_cast<float>(sums16[0] + sums16[1]);
  }
  const size_t padding = a.padded_blocks - blocks;
  memset(a.codes + 32 * blocks, 0, 32 * padding);
  memset(a.scales + blocks, 0, sizeof(float) * padding);
  memset(a.sums + blocks, 0, sizeof(float) * padding);
  memset(a.sums16 + 2 * blocks, 0, 2 * sizeof(int16_t) * padding);
}

}  // namespace
}  // namespace barn
