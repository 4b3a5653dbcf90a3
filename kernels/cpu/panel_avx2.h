#pragma once

#include "kernels/cpu/isa_avx2.h"
#include "kernels/cpu/unroll.h"

// What packed_driver.h asks of AVX2: panels of 8 rows, one row per 32-bit lane.

namespace barn {
namespace {

struct Avx2PanelIsa : Avx2Isa {
  static constexpr size_t kPanelRows = 8;
  static constexpr size_t kPanelsTogether = 1;  // 16 registers hold no more.
  using PanelFloats = __m256;
  using PanelInts = __m256i;

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
  BARN_INLINED static Bytes FlipSigns(Bytes codes) { return codes; }  // PanelSignedDots takes signed codes.

  BARN_INLINED static PanelFloats PanelSet(float value) { return _mm256_set1_ps(value); }
  BARN_INLINED static PanelFloats PanelLoad(const float* p) { return _mm256_loadu_ps(p); }
  static void PanelStore(float* p, PanelFloats a) { _mm256_storeu_ps(p, a); }
  BARN_INLINED static PanelFloats PanelMul(PanelFloats a, PanelFloats b) { return _mm256_mul_ps(a, b); }
  BARN_INLINED static PanelFloats PanelAdd(PanelFloats a, PanelFloats b) { return _mm256_add_ps(a, b); }
  BARN_INLINED static PanelFloats PanelMulAdd(PanelFloats a, PanelFloats b, PanelFloats c) {
    return _mm256_fmadd_ps(a, b, c);
  }
  BARN_INLINED static PanelFloats PanelNegate(PanelFloats a) { return _mm256_xor_ps(a, _mm256_set1_ps(-0.0f)); }
  BARN_INLINED static PanelFloats PanelToFloats(PanelInts a) { return _mm256_cvtepi32_ps(a); }

  BARN_INLINED static PanelFloats PanelHalves(const uint8_t* p) { return _mm256_cvtph_ps(Load16(p)); }
  BARN_INLINED static PanelInts PanelBytes(const uint8_t* p) { return _mm256_cvtepu8_epi32(Load8(p)); }
  BARN_INLINED static PanelInts PanelSignedBytes(const uint8_t* p) { return _mm256_cvtepi8_epi32(Load8(p)); }
  BARN_INLINED static PanelFloats PanelHalvedPowers(const uint8_t* p) {
    uint64_t exponents;
    memcpy(&exponents, p, sizeof(exponents));
    return HalvedPowers(exponents);
  }
  BARN_INLINED static __m128i Load8(const uint8_t* p) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)); }

  BARN_INLINED static PanelInts PanelLoadCodes(const uint8_t* p) { return Load(p); }
  BARN_INLINED static PanelInts PanelOr(PanelInts a, PanelInts b) { return _mm256_or_si256(a, b); }
  // Bits kMask << kFrom of every byte, moved to kTo.
  template <int kFrom, int kTo, int kMask>
  BARN_INLINED static PanelInts PanelBits(PanelInts a) {
    const PanelInts moved = kFrom >= kTo ? ShiftRight(a, kFrom - kTo) : ShiftLeft(a, kTo - kFrom);
    return And(moved, static_cast<uint8_t>(kMask << kTo));
  }
  template <bool kSigned>
  BARN_INLINED static PanelInts PanelLookup(PanelInts indices, const int8_t* table) {
    return Lookup(indices, table);
  }

  // Four bytes at p in every lane.
  BARN_INLINED static __m256i Spread(const void* p) {
    int32_t four;
    memcpy(&four, p, sizeof(four));
    return _mm256_set1_epi32(four);
  }
  // Two signed bytes of every row, as 16 bits each.
  BARN_INLINED static PanelInts PanelPairs(const uint8_t* p) { return _mm256_cvtepi8_epi16(Load16(p)); }
  // The nibbles of each byte in its place.
  BARN_INLINED static PanelInts PanelLowNibbles(PanelInts pairs) {
    return _mm256_and_si256(pairs, _mm256_set1_epi16(15));
  }
  BARN_INLINED static PanelInts PanelHighNibbles(PanelInts pairs) {
    return _mm256_and_si256(_mm256_srli_epi16(pairs, 4), _mm256_set1_epi16(15));
  }
  // Adds their products with x[0] and x[1].
  BARN_INLINED static PanelInts PanelAddPairs(PanelInts sum, PanelInts pairs, const int16_t* x) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, Spread(x)));
  }

  // Adds the products of code registers kFirst .. kFirst + kCount - 1, in 16 bits. x: [8, tokens] groups of four.
  template <int kMax, int kFirst, int kCount, class Source, int kTokens>
  BARN_INLINED static void ShortSums(const Source& codes, const int8_t* x, __m256i (&sums)[kTokens]) {
    static_assert(kCount * 2 * 127 * kMax <= 32767);
    for (__m256i& sum : sums) sum = _mm256_setzero_si256();
    Unroll<kCount>([&]<int kI>() BARN_INLINED {
      const __m256i weights = codes.template Code<kFirst + kI>();
      for (int t = 0; t < kTokens; ++t) {
        const __m256i product = _mm256_maddubs_epi16(weights, Spread(x + 4 * ((kFirst + kI) * kTokens + t)));
        sums[t] = _mm256_add_epi16(sums[t], product);
      }
    });
  }
  template <int kMax, class Source, int kTokens>
  BARN_INLINED static void PanelDots(const Source (&codes)[1], const int8_t* x, PanelInts (&dots)[1][kTokens]) {
    constexpr int kCount = kMax <= 15 ? 8 : 4;
    const __m256i ones = _mm256_set1_epi16(1);
    Unroll<8 / kCount>([&]<int kPart>() BARN_INLINED {
      __m256i sums[kTokens];
      ShortSums<kMax, kPart * kCount, kCount>(codes[0], x, sums);
      for (int t = 0; t < kTokens; ++t) {
        const __m256i product = _mm256_madd_epi16(sums[t], ones);
        dots[0][t] = kPart == 0 ? product : _mm256_add_epi32(dots[0][t], product);
      }
    });
  }
  template <class Source, int kTokens>
  BARN_INLINED static void PanelSignedDots(const Source (&codes)[1], const int8_t* x, const int16_t*,
                                           PanelInts (&dots)[1][kTokens]) {
    const __m256i ones = _mm256_set1_epi16(1);
    for (__m256i& dot : dots[0]) dot = _mm256_setzero_si256();
    Unroll<8>([&]<int kI>() BARN_INLINED {
      // |w| * (x with the sign of w); a pair is at most 2 * 128 * 127.
      const __m256i weights = codes[0].template Code<kI>();
      const __m256i magnitudes = _mm256_abs_epi8(weights);
      for (int t = 0; t < kTokens; ++t) {
        const __m256i signed_x = _mm256_sign_epi8(Spread(x + 4 * (kI * kTokens + t)), weights);
        const __m256i product = _mm256_madd_epi16(_mm256_maddubs_epi16(magnitudes, signed_x), ones);
        dots[0][t] = _mm256_add_epi32(dots[0][t], product);
      }
    });
  }
  // scales: [2, rows], of the halves of the block. sums16: [tokens, 2]. The codes are kOffset too large.
  template <int kMax, int kOffset, class Source, int kTokens>
  BARN_INLINED static void PanelScaledDots(const Source (&codes)[1], const uint8_t* const (&scales)[1], const int8_t* x,
                                           const int16_t* sums16, PanelInts (&dots)[1][kTokens]) {
    constexpr int kCount = kMax <= 31 ? 4 : kMax <= 63 ? 2 : 1;
    // The half's scale in both 16-bit parts of a lane, for products with pairs of columns.
    const auto twice = [](const uint8_t* p) {
      const __m256i scale = PanelSignedBytes(p);
      return _mm256_blend_epi16(scale, _mm256_slli_epi32(scale, 16), 0xaa);
    };
    const __m256i half_scales[2] = {twice(scales[0]), twice(scales[0] + kPanelRows)};
    if constexpr (kOffset != 0) {
      const __m256i pairs = _mm256_blend_epi16(half_scales[0], half_scales[1], 0xaa);
      const __m256i offsets = _mm256_mullo_epi16(pairs, _mm256_set1_epi16(-kOffset));
      for (int t = 0; t < kTokens; ++t) dots[0][t] = _mm256_madd_epi16(offsets, Spread(sums16 + 2 * t));
    } else {
      for (__m256i& dot : dots[0]) dot = _mm256_setzero_si256();
    }
    Unroll<8 / kCount>([&]<int kPart>() BARN_INLINED {
      __m256i sums[kTokens];
      ShortSums<kMax, kPart * kCount, kCount>(codes[0], x, sums);
      for (int t = 0; t < kTokens; ++t) {
        const __m256i product = _mm256_madd_epi16(sums[t], half_scales[kPart * kCount / 4]);
        dots[0][t] = _mm256_add_epi32(dots[0][t], product);
      }
    });
  }

  template <int kFactor, int kTokens>
  BARN_INLINED static void PanelStart(const int16_t*, PanelInts (&dots)[1][kTokens]) {
    static_assert(kFactor == 0);
    for (__m256i& dot : dots[0]) dot = _mm256_setzero_si256();
  }
  // As PanelScaledDots, on top of dots. scales: of the halves, as PanelPairs gives them.
  template <int kMax, int kOffset, class Source, int kTokens>
  BARN_INLINED static void PanelAddScaledDots(const Source (&codes)[1], const PanelInts (&scales)[1], const int8_t* x,
                                              const int16_t* sums16, PanelInts (&dots)[1][kTokens]) {
    if constexpr (kOffset != 0) {
      const __m256i offsets = _mm256_mullo_epi16(scales[0], _mm256_set1_epi16(-kOffset));
      for (int t = 0; t < kTokens; ++t) dots[0][t] = PanelAddPairs(dots[0][t], offsets, sums16 + 2 * t);
    }
    Unroll<2>([&]<int kHalf>() BARN_INLINED {
      __m256i sums[kTokens];
      ShortSums<kMax, 4 * kHalf, 4>(codes[0], x, sums);
      // The half's scale in both 16-bit parts of a lane, for products with pairs of columns.
      const __m256i scale = kHalf == 0 ? _mm256_blend_epi16(scales[0], _mm256_slli_epi32(scales[0], 16), 0xaa)
                                       : _mm256_blend_epi16(_mm256_srli_epi32(scales[0], 16), scales[0], 0xaa);
      for (int t = 0; t < kTokens; ++t) {
        dots[0][t] = _mm256_add_epi32(dots[0][t], _mm256_madd_epi16(sums[t], scale));
      }
    });
  }

  static constexpr bool kFoldsScales = false;  // Sums of two products with codes up to 255 do not fit 16 bits.
};

}  // namespace
}  // namespace barn
