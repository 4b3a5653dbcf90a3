#pragma once

#include "kernels/cpu/isa_avx2.h"

// What AVX-512 with VNNI does better than isa_avx2.h. Needs F, BW, VL, DQ and VNNI.

namespace barn {
namespace {

struct Avx512Isa : Avx2Isa {
  static __m256i BlockSums(__m256i codes, const int8_t* x) {
    return _mm256_dpbusd_epi32(_mm256_setzero_si256(), codes, Load(x));
  }
  template <int kMax>
  static Ints Dots(const Bytes (&codes)[8], const int8_t* x) {
    __m256i sums[8], even, odd;
    for (int b = 0; b < 8; ++b) sums[b] = BlockSums(codes[b], x + 32 * b);
    FoldHalves(sums, even, odd);
    return _mm256_add_epi32(even, odd);
  }
  static Ints SignedDots(const Bytes (&codes)[8], const int8_t* x, const int16_t* sums16) {
    // The weights become unsigned by adding 128, which adds 128 times the sum of the activations.
    Bytes shifted[8];
    for (int b = 0; b < 8; ++b) shifted[b] = _mm256_xor_si256(codes[b], _mm256_set1_epi8(static_cast<char>(0x80)));
    return Subtract(Dots<255>(shifted, x), PairSums(_mm256_set1_epi16(128), sums16));
  }
  template <int kMax>
  static Ints ScaledDots(const Bytes (&codes)[8], const int8_t* x, Shorts scales) {
    __m256i sums[8], even, odd;
    for (int b = 0; b < 8; ++b) sums[b] = BlockSums(codes[b], x + 32 * b);
    FoldHalves(sums, even, odd);
    const __m256i even_scales = _mm256_srai_epi32(_mm256_slli_epi32(scales, 16), 16);
    const __m256i odd_scales = _mm256_srai_epi32(scales, 16);
    return _mm256_add_epi32(_mm256_mullo_epi32(even, even_scales), _mm256_mullo_epi32(odd, odd_scales));
  }

  using Wide = __m512;
  static Wide WideZero() { return _mm512_setzero_ps(); }
  static Wide WideLoad(const float* p) { return _mm512_loadu_ps(p); }
  static Wide WideMulAdd(Wide a, Wide b, Wide c) { return _mm512_fmadd_ps(a, b, c); }
  static float WideSum(Wide a) { return Sum(_mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1))); }
};

}  // namespace
}  // namespace barn
