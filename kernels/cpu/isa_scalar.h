#pragma once

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

// The operations that the drivers ask of an instruction set, in plain C++. The other sets give the same bits.

namespace barn {
namespace {

struct ScalarIsa {
  static constexpr size_t kPanelRows = 0;  // No panels: rows meet tokens one by one.

  struct Bytes {
    uint8_t v[32];
  };
  struct Ints {
    int32_t v[8];
  };
  struct Floats {
    float v[8];
  };
  struct Shorts {
    int16_t v[16];
  };

  template <class Result, class Op>
  static Result Make(Op op) {
    Result result;
    for (size_t i = 0; i < sizeof(result.v) / sizeof(result.v[0]); ++i) result.v[i] = op(i);
    return result;
  }

  // Bytes: 32 codes of one block.
  static Bytes ZeroBytes() { return Bytes{}; }
  static Bytes Load(const uint8_t* p) {
    return Make<Bytes>([&](size_t i) { return p[i]; });
  }
  // The low nibbles of 16 bytes, then the high ones.
  static Bytes Nibbles(const uint8_t* p) {
    return Make<Bytes>([&](size_t i) { return static_cast<uint8_t>(p[i % 16] >> (4 * (i / 16)) & 15); });
  }
  static Bytes And(Bytes a, uint8_t mask) {
    return Make<Bytes>([&](size_t i) { return static_cast<uint8_t>(a.v[i] & mask); });
  }
  static Bytes Or(Bytes a, Bytes b) {
    return Make<Bytes>([&](size_t i) { return static_cast<uint8_t>(a.v[i] | b.v[i]); });
  }
  // Shifts may carry bits between neighbouring bytes: mask afterwards.
  static Bytes ShiftRight(Bytes a, int bits) {
    return Make<Bytes>([&](size_t i) { return static_cast<uint8_t>(a.v[i] >> bits); });
  }
  static Bytes ShiftLeft(Bytes a, int bits) {
    return Make<Bytes>([&](size_t i) { return static_cast<uint8_t>(a.v[i] << bits); });
  }
  // Byte i is `value` where bit i is set, else 0.
  static Bytes FromBits(uint32_t bits, uint8_t value) {
    return Make<Bytes>([&](size_t i) { return static_cast<uint8_t>((bits >> i & 1) * value); });
  }
  static Bytes Lookup(Bytes a, const int8_t* table) {
    return Make<Bytes>([&](size_t i) { return static_cast<uint8_t>(table[a.v[i]]); });
  }

  // The digit of base 3 behind the point of a * powers / 256, whose whole part does not count.
  static Bytes Trits(Bytes a, Bytes powers) {
    return Make<Bytes>([&](size_t i) { return static_cast<uint8_t>((a.v[i] * powers.v[i] & 255) * 3 >> 8); });
  }

  // Four times 8 bytes.
  static Bytes FromWords(uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    const uint64_t words[4] = {a, b, c, d};
    return Load(reinterpret_cast<const uint8_t*>(words));
  }
  static Bytes SetBytes(uint8_t value) {
    return Make<Bytes>([&](size_t) { return value; });
  }
  static Bytes AddBytes(Bytes a, Bytes b) {
    return Make<Bytes>([&](size_t i) { return static_cast<uint8_t>(a.v[i] + b.v[i]); });
  }
  // Byte i is -a[i] where bit i is set.
  static Bytes NegateWhere(Bytes a, uint32_t bits) {
    return Make<Bytes>([&](size_t i) { return static_cast<uint8_t>((bits >> i & 1) != 0 ? -a.v[i] : a.v[i]); });
  }

  // Floats: lane b is for block b of a chunk.
  static Floats Set(float value) {
    return Make<Floats>([&](size_t) { return value; });
  }
  static Floats LoadFloats(const float* p) {
    return Make<Floats>([&](size_t i) { return p[i]; });
  }
  static Floats Mul(Floats a, Floats b) {
    return Make<Floats>([&](size_t i) { return a.v[i] * b.v[i]; });
  }
  static Floats Add(Floats a, Floats b) {
    return Make<Floats>([&](size_t i) { return a.v[i] + b.v[i]; });
  }
  static void StoreFloats(float* p, Floats a) { memcpy(p, a.v, sizeof(a.v)); }
  static float First(Floats a) { return a.v[0]; }
  static float MulAddOne(float a, float b, float c) { return fmaf(a, b, c); }
  static Floats ToFloats(Ints a) {
    return Make<Floats>([&](size_t i) { return static_cast<float>(a.v[i]); });
  }
  static float Sum(Floats a) {
    return ((a.v[0] + a.v[4]) + (a.v[2] + a.v[6])) + ((a.v[1] + a.v[5]) + (a.v[3] + a.v[7]));
  }
  // Bytes of `bytes`, the lowest first, as numbers from 0 to 255.
  static Floats FromBytes(uint64_t bytes) {
    return Make<Floats>([&](size_t i) { return static_cast<float>(bytes >> (8 * i) & 255); });
  }
  // 2^(e - 128) for each byte e, the lowest first; the two smallest are subnormal numbers.
  static Floats HalvedPowers(uint64_t exponents) {
    return Make<Floats>([&](size_t i) {
      const auto e = static_cast<uint32_t>(exponents >> (8 * i) & 255);
      return FromBitsOfFloat(e >= 2 ? (e - 1) << 23 : 0x00200000u << e);
    });
  }
  static float Half(const uint8_t* p) {
    uint16_t half;
    memcpy(&half, p, sizeof(half));
    const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
    const uint32_t magnitude = half & 0x7fff;
    if (magnitude >= 0x7c00) return FromBitsOfFloat(sign | 0x7f800000 | (magnitude & 0x3ff) << 13);
    // The exponent bias differs by 112; the product also normalizes subnormals.
    const float scaled = FromBitsOfFloat(magnitude << 13) * 0x1p112f;
    return sign == 0 ? scaled : -scaled;
  }
  static float FromBitsOfFloat(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
  }
  // Halves at p, p + stride, ... in the first `count` lanes; the others are 0.
  static Floats GatherHalves(const uint8_t* p, size_t stride, int count) {
    return Make<Floats>([&](size_t i) { return static_cast<int>(i) < count ? Half(p + i * stride) : 0.0f; });
  }

  // Shorts: 16 integers, two per block.
  static Shorts ShortsFrom(uint64_t low, uint64_t high) {  // Signed bytes.
    return Make<Shorts>([&](size_t i) {
      return static_cast<int16_t>(static_cast<int8_t>((i < 8 ? low : high) >> (8 * (i % 8)) & 255));
    });
  }
  static Shorts AddToShorts(Shorts a, int value) {
    return Make<Shorts>([&](size_t i) { return static_cast<int16_t>(a.v[i] + value); });
  }
  static Shorts MultiplyShorts(Shorts a, int value) {
    return Make<Shorts>([&](size_t i) { return static_cast<int16_t>(a.v[i] * value); });
  }

  // Ints: one integer per block.
  static Ints Subtract(Ints a, Ints b) {
    return Make<Ints>([&](size_t i) { return a.v[i] - b.v[i]; });
  }
  // a[2 b] * b[2 b] + a[2 b + 1] * b[2 b + 1].
  static Ints PairSums(Shorts a, const int16_t* b) {
    return Make<Ints>([&](size_t i) { return a.v[2 * i] * b[2 * i] + a.v[2 * i + 1] * b[2 * i + 1]; });
  }
  static int32_t AddUp(Ints a) {
    int32_t sum = 0;
    for (int32_t one : a.v) sum += one;
    return sum;
  }
  template <class Code>
  static int32_t Dot16(const uint8_t* codes, const int8_t* x) {
    int32_t sum = 0;
    for (int i = 0; i < 16; ++i) sum += static_cast<Code>(codes[i]) * x[i];
    return sum;
  }
  // Dot products of 8 blocks of codes in [0, kMax] with 8 blocks of activations.
  template <int kMax>
  static Ints Dots(const Bytes (&codes)[8], const int8_t* x) {
    return Make<Ints>([&](size_t b) {
      return Dot16<uint8_t>(codes[b].v, x + 32 * b) + Dot16<uint8_t>(codes[b].v + 16, x + 32 * b + 16);
    });
  }
  // Codes are signed bytes. sums16: sums of 16 activations each, for sets that multiply unsigned by signed only.
  static Ints SignedDots(const Bytes (&codes)[8], const int8_t* x, const int16_t* /*sums16*/) {
    return Make<Ints>([&](size_t b) {
      return Dot16<int8_t>(codes[b].v, x + 32 * b) + Dot16<int8_t>(codes[b].v + 16, x + 32 * b + 16);
    });
  }
  // Of the halves of each block.
  static void HalfDots(const Bytes (&codes)[8], const int8_t* x, Ints& first, Ints& second) {
    first = Make<Ints>([&](size_t b) { return Dot16<uint8_t>(codes[b].v, x + 32 * b); });
    second = Make<Ints>([&](size_t b) { return Dot16<uint8_t>(codes[b].v + 16, x + 32 * b + 16); });
  }
  // Each half of a block is multiplied by its own integer scale.
  template <int kMax>
  static Ints ScaledDots(const Bytes (&codes)[8], const int8_t* x, Shorts scales) {
    return Make<Ints>([&](size_t b) {
      return scales.v[2 * b] * Dot16<uint8_t>(codes[b].v, x + 32 * b) +
             scales.v[2 * b + 1] * Dot16<uint8_t>(codes[b].v + 16, x + 32 * b + 16);
    });
  }
  // The sum of that over the 8 blocks.
  template <int kMax>
  static int32_t ScaledDot(const Bytes (&codes)[8], const int8_t* x, Shorts scales) {
    return AddUp(ScaledDots<kMax>(codes, x, scales));
  }

  // Wide: the 16 sums of an f32 dot product.
  struct Wide {
    float v[16];
  };
  static Wide WideZero() { return Wide{}; }
  static Wide WideLoad(const float* p) {
    return Make<Wide>([&](size_t i) { return p[i]; });
  }
  static Wide WideLoadBytes(const uint8_t* p) {  // The same at any alignment.
    Wide wide;
    memcpy(wide.v, p, sizeof(wide.v));
    return wide;
  }
  static Wide WideLoadHalves(const uint8_t* p) {
    return Make<Wide>([&](size_t i) { return Half(p + 2 * i); });
  }
  static Wide WideLoadBf16(const uint8_t* p) {
    return Make<Wide>([&](size_t i) { return FromBitsOfFloat((p[2 * i] | p[2 * i + 1] << 8) * 65536u); });
  }
  static Wide WideMulAdd(Wide a, Wide b, Wide c) {
    return Make<Wide>([&](size_t i) { return fmaf(a.v[i], b.v[i], c.v[i]); });
  }
  static float WideSum(Wide a) {
    return Sum(Make<Floats>([&](size_t i) { return a.v[i] + a.v[i + 8]; }));
  }

  // The largest |x| of 32 values; NaN when one is NaN. Magnitudes compare like the integers that hold them.
  static float LargestMagnitude(const float* x) {
    uint32_t largest = 0;
    for (int i = 0; i < 32; ++i) {
      uint32_t bits;
      memcpy(&bits, x + i, sizeof(bits));
      bits &= 0x7fffffff;
      if (bits > largest) largest = bits;
    }
    return FromBitsOfFloat(largest);
  }
  // codes = x * inverse, clamped to [-127, 127] (NaN is -127) and rounded to nearest even; the sums of 16 codes.
  static void RoundBlock(const float* x, float inverse, int8_t* codes, int16_t* sums16) {
    constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: the sum has no room for a fraction.
    sums16[0] = sums16[1] = 0;
    for (int i = 0; i < 32; ++i) {
      float value = x[i] * inverse;
      if (!(value > -127.0f)) value = -127.0f;
      if (value > 127.0f) value = 127.0f;
      codes[i] = static_cast<int8_t>((value + kRound) - kRound);
      sums16[i / 16] = static_cast<int16_t>(sums16[i / 16] + codes[i]);
    }
  }
};

}  // namespace
}  // namespace barn
