#pragma once

#include "kernels/cpu/isa_avx2.h"

// What int8_panel.h asks of AVX2: panels of 8 rows, one row per 32-bit lane.

namespace barn {
namespace {

struct Avx2PanelIsa : Avx2Isa {
  static constexpr size_t kPanelRows = 8;
  using PanelFloats = __m256;
  using PanelInts = __m256i;

  static __m256i AsInts(__m256 a) { return _mm256_castps_si256(a); }
  static __m256i AsInts(__m256i a) { return a; }

  // 8 x 8 words: out[i * stride + r] = word i of row(r). out: 32-bit words.
  template <class Row>
  static void Transpose(Row row, void* out, size_t stride) {
    __m256i pairs[8];  // Words of rows 2 i and 2 i + 1, interleaved within halves.
    for (int i = 0; i < 4; ++i) {
      const __m256i first = row(2 * i);
      const __m256i second = row(2 * i + 1);
      pairs[2 * i] = _mm256_unpacklo_epi32(first, second);
      pairs[2 * i + 1] = _mm256_unpackhi_epi32(first, second);
    }
    __m256i quads[8];  // quads[4 i + j]: words j and j + 4 of rows 4 i .. 4 i + 3.
    for (int i = 0; i < 2; ++i) {
      quads[4 * i] = _mm256_unpacklo_epi64(pairs[4 * i], pairs[4 * i + 2]);
      quads[4 * i + 1] = _mm256_unpackhi_epi64(pairs[4 * i], pairs[4 * i + 2]);
      quads[4 * i + 2] = _mm256_unpacklo_epi64(pairs[4 * i + 1], pairs[4 * i + 3]);
      quads[4 * i + 3] = _mm256_unpackhi_epi64(pairs[4 * i + 1], pairs[4 * i + 3]);
    }
    for (int j = 0; j < 4; ++j) {
      StoreWords(out, j * stride, _mm256_permute2x128_si256(quads[j], quads[4 + j], 0x20));
      StoreWords(out, (j + 4) * stride, _mm256_permute2x128_si256(quads[j], quads[4 + j], 0x31));
    }
  }
  static void StoreWords(void* out, size_t word, __m256i value) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(static_cast<uint8_t*>(out) + 4 * word), value);
  }

  static PanelFloats PanelSet(float value) { return _mm256_set1_ps(value); }
  static PanelFloats PanelLoad(const float* p) { return _mm256_loadu_ps(p); }
  static void PanelStore(float* p, PanelFloats a) { _mm256_storeu_ps(p, a); }
  static PanelFloats PanelMul(PanelFloats a, PanelFloats b) { return _mm256_mul_ps(a, b); }
  static PanelFloats PanelAdd(PanelFloats a, PanelFloats b) { return _mm256_add_ps(a, b); }
  static PanelFloats PanelMulAdd(PanelFloats a, PanelFloats b, PanelFloats c) { return _mm256_fmadd_ps(a, b, c); }
  static PanelFloats PanelToFloats(PanelInts a) { return _mm256_cvtepi32_ps(a); }
  static PanelInts PanelSubtract(PanelInts a, PanelInts b) { return _mm256_sub_epi32(a, b); }
  static PanelInts PanelUnshift(PanelInts dots, const int16_t*) { return dots; }

  // Four bytes at p in every lane.
  static __m256i Spread(const void* p) {
    int32_t four;
    memcpy(&four, p, sizeof(four));
    return _mm256_set1_epi32(four);
  }
  static PanelInts PanelPairSums(const int32_t* pairs, const int16_t* x) {
    return _mm256_madd_epi16(Load(pairs), Spread(x));
  }

  // Adds the products of kCount registers of codes, in 16 bits: kCount * 2 * 127 * kMax must fit.
  template <int kMax, int kCount, int kTokens>
  static void ShortSums(const uint8_t* codes, const int8_t* const (&x)[kTokens], int column, __m256i (&sums)[kTokens]) {
    static_assert(kCount * 2 * 127 * kMax <= 32767);
    for (__m256i& sum : sums) sum = _mm256_setzero_si256();
    for (int i = 0; i < kCount; ++i) {
      const __m256i weights = Load(codes + 32 * (column / 4 + i));
      for (int t = 0; t < kTokens; ++t) {
        const __m256i product = _mm256_maddubs_epi16(weights, Spread(x[t] + column + 4 * i));
        sums[t] = _mm256_add_epi16(sums[t], product);
      }
    }
  }
  template <int kMax, int kTokens>
  static void PanelDots(const uint8_t* codes, const int8_t* const (&x)[kTokens], PanelInts (&dots)[kTokens]) {
    constexpr int kCount = kMax <= 15 ? 8 : 4;
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i sums[kTokens];
    ShortSums<kMax, kCount>(codes, x, 0, sums);
    for (int t = 0; t < kTokens; ++t) dots[t] = _mm256_madd_epi16(sums[t], ones);
    if constexpr (kCount == 4) {
      ShortSums<kMax, kCount>(codes, x, 16, sums);
      for (int t = 0; t < kTokens; ++t) dots[t] = _mm256_add_epi32(dots[t], _mm256_madd_epi16(sums[t], ones));
    }
  }
  template <int kTokens>
  static void PanelSignedDots(const uint8_t* codes, const int8_t* const (&x)[kTokens], PanelInts (&dots)[kTokens]) {
    const __m256i ones = _mm256_set1_epi16(1);
    for (__m256i& dot : dots) dot = _mm256_setzero_si256();
    for (int i = 0; i < 8; ++i) {
      const __m256i weights = Load(codes + 32 * i);
      const __m256i magnitudes = _mm256_abs_epi8(weights);
      for (int t = 0; t < kTokens; ++t) {
        const __m256i signed_x = _mm256_sign_epi8(Spread(x[t] + 4 * i), weights);
        const __m256i product = _mm256_madd_epi16(_mm256_maddubs_epi16(magnitudes, signed_x), ones);
        dots[t] = _mm256_add_epi32(dots[t], product);
      }
    }
  }
  template <int kMax, int kTokens>
  static void PanelScaledDots(const uint8_t* codes, const int32_t* scales16, const int8_t* const (&x)[kTokens],
                              PanelInts (&dots)[kTokens]) {
    constexpr int kCount = kMax <= 31 ? 4 : 2;
    const __m256i pairs = Load(scales16);
    for (__m256i& dot : dots) dot = _mm256_setzero_si256();
    for (int half = 0; half < 2; ++half) {
      // The half's scale in both 16-bit parts of a lane.
      const __m256i scale = half == 0 ? _mm256_blend_epi16(pairs, _mm256_slli_epi32(pairs, 16), 0xaa)
                                      : _mm256_blend_epi16(_mm256_srli_epi32(pairs, 16), pairs, 0xaa);
      for (int column = 16 * half; column < 16 * half + 16; column += 4 * kCount) {
        __m256i sums[kTokens];
        ShortSums<kMax, kCount>(codes, x, column, sums);
        for (int t = 0; t < kTokens; ++t) {
          const __m256i product = _mm256_madd_epi16(sums[t], scale);
          dots[t] = _mm256_add_epi32(dots[t], product);
        }
      }
    }
  }
};

}  // namespace
}  // namespace barn
