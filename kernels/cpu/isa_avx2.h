#pragma once

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

// The operations of isa_scalar.h on 256-bit registers. Needs AVX2, FMA and F16C.

namespace barn {
namespace {

struct Avx2Isa {
  using Bytes = __m256i;
  using Ints = __m256i;
  using Floats = __m256;
  using Shorts = __m256i;

  static Bytes ZeroBytes() { return _mm256_setzero_si256(); }
  static Bytes Load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  static __m128i Load16(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
  static Bytes Nibbles(const uint8_t* p) {
    const __m128i bytes = Load16(p);
    const __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(bytes), _mm_srli_epi16(bytes, 4), 1);
    return _mm256_and_si256(both, _mm256_set1_epi8(15));
  }
  static Bytes And(Bytes a, uint8_t mask) { return _mm256_and_si256(a, _mm256_set1_epi8(static_cast<char>(mask))); }
  static Bytes Or(Bytes a, Bytes b) { return _mm256_or_si256(a, b); }
  static Bytes ShiftRight(Bytes a, int bits) { return bits == 0 ? a : _mm256_srli_epi16(a, bits); }
  static Bytes ShiftLeft(Bytes a, int bits) { return bits == 0 ? a : _mm256_slli_epi16(a, bits); }
  static Bytes FromBits(uint32_t bits, uint8_t value) {
    // Byte i of the bits goes to bytes 8 i .. 8 i + 7; each keeps its own bit.
    const __m256i spread =
        _mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int>(bits)),
                            _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303));
    const __m256i bit = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201));
    return And(_mm256_cmpeq_epi8(_mm256_and_si256(spread, bit), bit), value);
  }
  static Bytes Lookup(Bytes a, const int8_t* table) {
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(Load16(table)), a);
  }

  static Bytes Trits(Bytes a, Bytes powers) {
    const __m256i even = _mm256_mullo_epi16(a, powers);  // Its lower bytes are those of the products of lower bytes.
    const __m256i odd = _mm256_mullo_epi16(_mm256_srli_epi16(a, 8), _mm256_srli_epi16(powers, 8));
    const __m256i fractions = _mm256_or_si256(And16(even, 0x00ff), _mm256_slli_epi16(odd, 8));
    const auto at_least = [&](int value) {
      return _mm256_cmpeq_epi8(_mm256_max_epu8(fractions, _mm256_set1_epi8(static_cast<char>(value))), fractions);
    };
    return _mm256_sub_epi8(_mm256_setzero_si256(), _mm256_add_epi8(at_least(86), at_least(171)));
  }
  static __m256i And16(__m256i a, int16_t mask) { return _mm256_and_si256(a, _mm256_set1_epi16(mask)); }

  static Bytes FromWords(uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    return _mm256_setr_epi64x(static_cast<long long>(a), static_cast<long long>(b), static_cast<long long>(c),
                              static_cast<long long>(d));
  }
  static Bytes SetBytes(uint8_t value) { return _mm256_set1_epi8(static_cast<char>(value)); }
  static Bytes AddBytes(Bytes a, Bytes b) { return _mm256_add_epi8(a, b); }
  static Bytes NegateWhere(Bytes a, uint32_t bits) {
    const __m256i mask = FromBits(bits, 0xff);
    return _mm256_sub_epi8(_mm256_xor_si256(a, mask), mask);
  }

  static Floats Set(float value) { return _mm256_set1_ps(value); }
  static Floats LoadFloats(const float* p) { return _mm256_loadu_ps(p); }
  static void StoreFloats(float* p, Floats a) { _mm256_storeu_ps(p, a); }
  static float First(Floats a) { return _mm256_cvtss_f32(a); }
  static float MulAddOne(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
  static Floats Mul(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
  static Floats Add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
  static Floats ToFloats(Ints a) { return _mm256_cvtepi32_ps(a); }
  static float Sum(Floats a) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
  static Floats FromBytes(uint64_t bytes) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<long long>(bytes))));
  }
  static Floats HalvedPowers(uint64_t exponents) {
    const __m256i e = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<long long>(exponents)));
    const __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
    const __m256i subnormal = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
    return _mm256_castsi256_ps(_mm256_blendv_epi8(subnormal, normal, _mm256_cmpgt_epi32(e, _mm256_set1_epi32(1))));
  }
  static uint16_t HalfBits(const uint8_t* p) {
    uint16_t bits;
    memcpy(&bits, p, sizeof(bits));
    return bits;
  }
  static float Half(const uint8_t* p) { return _cvtsh_ss(HalfBits(p)); }
  static Floats GatherHalves(const uint8_t* p, size_t stride, int count) {
    const auto four = [=](const uint8_t* first) {
      return _mm_setr_epi16(HalfBits(first), HalfBits(first + stride), HalfBits(first + 2 * stride),
                            HalfBits(first + 3 * stride), 0, 0, 0, 0);
    };
    __m128i halves;
    if (count == 8) {
      halves = _mm_unpacklo_epi64(four(p), four(p + 4 * stride));
    } else if (count == 4) {
      halves = four(p);
    } else {
      uint16_t some[8] = {};
      for (int i = 0; i < count; ++i) some[i] = HalfBits(p + i * stride);
      halves = Load16(some);
    }
    return _mm256_cvtph_ps(halves);
  }

  static Shorts ShortsFrom(uint64_t low, uint64_t high) {
    return _mm256_cvtepi8_epi16(_mm_set_epi64x(static_cast<long long>(high), static_cast<long long>(low)));
  }
  static Shorts AddToShorts(Shorts a, int value) {
    return _mm256_add_epi16(a, _mm256_set1_epi16(static_cast<int16_t>(value)));
  }
  static Shorts MultiplyShorts(Shorts a, int value) {
    return _mm256_mullo_epi16(a, _mm256_set1_epi16(static_cast<int16_t>(value)));
  }

  static Ints Subtract(Ints a, Ints b) { return _mm256_sub_epi32(a, b); }
  static int32_t AddUp(Ints a) {
    const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
  }
  static Ints PairSums(Shorts a, const int16_t* b) { return _mm256_madd_epi16(a, Load(b)); }

  // [a0 + a2, b0 + b2, a1 + a3, b1 + b3] in each half: unpacking costs fewer operations than a horizontal sum does.
  static __m256i FoldPair(__m256i a, __m256i b) {
    return _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
  }
  // In each half: the sums of the four words of a, b, c and d.
  static __m256i FoldFour(__m256i a, __m256i b, __m256i c, __m256i d) {
    const __m256i first = FoldPair(a, b);
    const __m256i last = FoldPair(c, d);
    return _mm256_add_epi32(_mm256_unpacklo_epi64(first, last), _mm256_unpackhi_epi64(first, last));
  }
  // From eight registers of sums, one per block, to one register with a sum per block and half:
  // even: of the lower 128 bits (columns 0 .. 15 of each block), odd: of the upper.
  static void FoldHalves(const __m256i (&sums)[8], __m256i& even, __m256i& odd) {
    const __m256i first = FoldFour(sums[0], sums[1], sums[2], sums[3]);
    const __m256i last = FoldFour(sums[4], sums[5], sums[6], sums[7]);
    even = _mm256_permute2x128_si256(first, last, 0x20);
    odd = _mm256_permute2x128_si256(first, last, 0x31);
  }
  // The dot products of the halves of 8 blocks. Two products of a code up to 128 and an activation fit 16 bits.
  static void HalfDots(const Bytes (&codes)[8], const int8_t* x, __m256i& even, __m256i& odd) {
    __m256i sums[8];
    for (int b = 0; b < 8; ++b) {
      sums[b] = _mm256_madd_epi16(_mm256_maddubs_epi16(codes[b], Load(x + 32 * b)), _mm256_set1_epi16(1));
    }
    FoldHalves(sums, even, odd);
  }
  template <int kMax>
  static Ints Dots(const Bytes (&codes)[8], const int8_t* x) {
    __m256i even, odd;
    HalfDots(codes, x, even, odd);
    return _mm256_add_epi32(even, odd);
  }
  static Ints SignedDots(const Bytes (&codes)[8], const int8_t* x, const int16_t* /*sums16*/) {
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i sums[8];
    for (int b = 0; b < 8; ++b) {
      // |w| * (x with the sign of w); a pair is at most 2 * 128 * 127.
      const __m256i signed_x = _mm256_sign_epi8(Load(x + 32 * b), codes[b]);
      sums[b] = _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_abs_epi8(codes[b]), signed_x), ones);
    }
    __m256i even, odd;
    FoldHalves(sums, even, odd);
    return _mm256_add_epi32(even, odd);
  }
  template <int kMax>
  static Ints ScaledDots(const Bytes (&codes)[8], const int8_t* x, Shorts scales) {
    __m256i even, odd;
    HalfDots(codes, x, even, odd);
    const __m256i even_scales = _mm256_srai_epi32(_mm256_slli_epi32(scales, 16), 16);
    const __m256i odd_scales = _mm256_srai_epi32(scales, 16);
    return _mm256_add_epi32(_mm256_mullo_epi32(even, even_scales), _mm256_mullo_epi32(odd, odd_scales));
  }
  // Two products of a code up to 7 and an activation, twice, and their products with a scale fit.
  template <int kMax>
  static int32_t ScaledDot(const Bytes (&codes)[8], const int8_t* x, Shorts scales) {
    static_assert(kMax <= 31);
    // The scales of two blocks in every half; of them each block takes its own two.
    const __m256i low = _mm256_permute4x64_epi64(scales, 0x44), high = _mm256_permute4x64_epi64(scales, 0xee);
    __m256i select = _mm256_setr_epi64x(0x0100010001000100, 0x0100010001000100, 0x0302030203020302, 0x0302030203020302);
    const __m256i next = _mm256_set1_epi8(4);
    __m256i sum = _mm256_setzero_si256();
    for (int b = 0; b < 8; ++b) {
      const __m256i scale = _mm256_shuffle_epi8(b < 4 ? low : high, select);
      select = b == 3 ? _mm256_sub_epi8(select, _mm256_set1_epi8(12)) : _mm256_add_epi8(select, next);
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(codes[b], Load(x + 32 * b)), scale));
    }
    return AddUp(sum);
  }

  struct Wide {
    __m256 low, high;
  };
  static Wide WideZero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static Wide WideLoad(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static Wide WideLoadBytes(const uint8_t* p) {
    return {_mm256_castsi256_ps(Load(p)), _mm256_castsi256_ps(Load(p + 32))};
  }
  static __m256 Bf16(const uint8_t* p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(Load16(p)), 16));
  }
  static Wide WideLoadHalves(const uint8_t* p) { return {_mm256_cvtph_ps(Load16(p)), _mm256_cvtph_ps(Load16(p + 16))}; }
  static Wide WideLoadBf16(const uint8_t* p) { return {Bf16(p), Bf16(p + 16)}; }
  static Wide WideMulAdd(Wide a, Wide b, Wide c) {
    return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
  }
  static float WideSum(Wide a) { return Sum(_mm256_add_ps(a.low, a.high)); }

  static float LargestMagnitude(const float* x) {
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    __m256i largest = _mm256_setzero_si256();
    for (int i = 0; i < 4; ++i) largest = _mm256_max_epu32(largest, _mm256_and_si256(Load(x + 8 * i), magnitude));
    __m128i four = _mm_max_epu32(_mm256_castsi256_si128(largest), _mm256_extracti128_si256(largest, 1));
    four = _mm_max_epu32(four, _mm_shuffle_epi32(four, 0x4e));
    four = _mm_max_epu32(four, _mm_shuffle_epi32(four, 0xb1));
    return _mm_cvtss_f32(_mm_castsi128_ps(four));
  }
  static void RoundBlock(const float* x, float inverse, int8_t* codes, int16_t* sums16) {
    __m256i rounded[4];
    for (int i = 0; i < 4; ++i) {
      const __m256 value = _mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), _mm256_set1_ps(inverse));
      // The maximum's second operand is the answer to NaN.
      const __m256 clamped = _mm256_min_ps(_mm256_max_ps(value, _mm256_set1_ps(-127.0f)), _mm256_set1_ps(127.0f));
      rounded[i] = _mm256_cvtps_epi32(clamped);
    }
    // Packing works within 128-bit halves; the permutation puts groups of four back in order.
    const __m256i packed =
        _mm256_packs_epi16(_mm256_packs_epi32(rounded[0], rounded[1]), _mm256_packs_epi32(rounded[2], rounded[3]));
    const __m256i bytes = _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes), bytes);
    const __m256i quads = _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes), _mm256_set1_epi16(1));
    __m256i halves = _mm256_hadd_epi32(quads, quads);
    halves = _mm256_hadd_epi32(halves, halves);
    sums16[0] = static_cast<int16_t>(_mm256_extract_epi32(halves, 0));
    sums16[1] = static_cast<int16_t>(_mm256_extract_epi32(halves, 4));
  }
};

}  // namespace
}  // namespace barn
