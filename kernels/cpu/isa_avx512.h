#pragma once

#include "kernels/cpu/panel_avx2.h"

// What AVX-512 with VNNI does better than isa_avx2.h. Needs F, BW, VL, DQ and VNNI.

namespace barn {
namespace {

struct Avx512Isa : Avx2PanelIsa {
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

  static constexpr size_t kPanelRows = 16;
  using PanelFloats = __m512;
  using PanelInts = __m512i;

  static PanelFloats PanelSet(float value) { return _mm512_set1_ps(value); }
  static PanelFloats PanelLoad(const float* p) { return _mm512_loadu_ps(p); }
  static void PanelStore(float* p, PanelFloats a) { _mm512_storeu_ps(p, a); }
  static PanelFloats PanelMul(PanelFloats a, PanelFloats b) { return _mm512_mul_ps(a, b); }
  static PanelFloats PanelAdd(PanelFloats a, PanelFloats b) { return _mm512_add_ps(a, b); }
  static PanelFloats PanelMulAdd(PanelFloats a, PanelFloats b, PanelFloats c) { return _mm512_fmadd_ps(a, b, c); }
  static PanelFloats PanelToFloats(PanelInts a) { return _mm512_cvtepi32_ps(a); }
  static PanelInts PanelSubtract(PanelInts a, PanelInts b) { return _mm512_sub_epi32(a, b); }

  static __m512i Load64(const void* p) { return _mm512_loadu_si512(p); }
  static __m512i Spread(const void* p) {
    int32_t four;
    memcpy(&four, p, sizeof(four));
    return _mm512_set1_epi32(four);
  }
  // The lower or upper signed 16 bits of every lane.
  static __m512i EvenShorts(__m512i pairs) { return _mm512_srai_epi32(_mm512_slli_epi32(pairs, 16), 16); }
  static __m512i OddShorts(__m512i pairs) { return _mm512_srai_epi32(pairs, 16); }
  static PanelInts PanelPairSums(const int32_t* pairs, const int16_t* x) {
    const __m512i pair = Load64(pairs);
    return _mm512_add_epi32(_mm512_mullo_epi32(EvenShorts(pair), _mm512_set1_epi32(x[0])),
                            _mm512_mullo_epi32(OddShorts(pair), _mm512_set1_epi32(x[1])));
  }

  // The products of columns [column, column + 4 kCount) of a block; codes are unsigned after `flip` is applied.
  template <int kCount, int kTokens>
  static void UnsignedDots(const uint8_t* codes, const int8_t* const (&x)[kTokens], int column, int flip,
                           PanelInts (&dots)[kTokens]) {
    for (int t = 0; t < kTokens; ++t) dots[t] = _mm512_setzero_si512();
    for (int i = 0; i < kCount; ++i) {
      const __m512i weights = _mm512_xor_si512(Load64(codes + 64 * (column / 4 + i)), _mm512_set1_epi32(flip));
      for (int t = 0; t < kTokens; ++t) dots[t] = _mm512_dpbusd_epi32(dots[t], weights, Spread(x[t] + column + 4 * i));
    }
  }
  template <int kMax, int kTokens>
  static void PanelDots(const uint8_t* codes, const int8_t* const (&x)[kTokens], PanelInts (&dots)[kTokens]) {
    UnsignedDots<8>(codes, x, 0, 0, dots);
  }
  // As SignedDots above: PanelUnshift takes off what making the weights unsigned has added.
  template <int kTokens>
  static void PanelSignedDots(const uint8_t* codes, const int8_t* const (&x)[kTokens], PanelInts (&dots)[kTokens]) {
    UnsignedDots<8>(codes, x, 0, static_cast<int>(0x80808080u), dots);
  }
  static PanelInts PanelUnshift(PanelInts dots, const int16_t* sums16) {
    return _mm512_sub_epi32(dots, _mm512_set1_epi32(128 * (sums16[0] + sums16[1])));
  }
  template <int kMax, int kTokens>
  static void PanelScaledDots(const uint8_t* codes, const int32_t* scales16, const int8_t* const (&x)[kTokens],
                              PanelInts (&dots)[kTokens]) {
    const __m512i pairs = Load64(scales16);
    PanelInts odd[kTokens];
    UnsignedDots<4>(codes, x, 0, 0, dots);
    UnsignedDots<4>(codes, x, 16, 0, odd);
    for (int t = 0; t < kTokens; ++t) {
      dots[t] = _mm512_add_epi32(_mm512_mullo_epi32(dots[t], EvenShorts(pairs)),
                                 _mm512_mullo_epi32(odd[t], OddShorts(pairs)));
    }
  }

  using Wide = __m512;
  static Wide WideZero() { return _mm512_setzero_ps(); }
  static Wide WideLoad(const float* p) { return _mm512_loadu_ps(p); }
  static Wide WideLoadBytes(const uint8_t* p) { return _mm512_loadu_ps(p); }
  static Wide Join(Avx2PanelIsa::Wide a) {
    return _mm512_castpd_ps(
        _mm512_insertf64x4(_mm512_castps_pd(_mm512_castps256_ps512(a.low)), _mm256_castps_pd(a.high), 1));
  }
  static Wide WideLoadHalves(const uint8_t* p) { return Join(Avx2PanelIsa::WideLoadHalves(p)); }
  static Wide WideLoadBf16(const uint8_t* p) { return Join(Avx2PanelIsa::WideLoadBf16(p)); }
  static Wide WideMulAdd(Wide a, Wide b, Wide c) { return _mm512_fmadd_ps(a, b, c); }
  static float WideSum(Wide a) {
    return Sum(
        _mm256_add_ps(_mm512_castps512_ps256(a), _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a), 1))));
  }
};

}  // namespace
}  // namespace barn
