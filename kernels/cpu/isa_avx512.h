#pragma once

#include "kernels/cpu/panel_avx2.h"

// What AVX-512 with VNNI does better than isa_avx2.h. Needs F, BW, VL, DQ and VNNI.

namespace barn {
namespace {

struct Avx512Isa : Avx2PanelIsa {
  static Bytes NegateWhere(Bytes a, uint32_t bits) { return _mm256_mask_sub_epi8(a, bits, _mm256_setzero_si256(), a); }
  static __m256i BlockSums(__m256i codes, const int8_t* x) {
    return _mm256_dpbusd_epi32(_mm256_setzero_si256(), codes, Load(x));
  }
  static void HalfDots(const Bytes (&codes)[8], const int8_t* x, Ints& even, Ints& odd) {
    __m256i sums[8];
    for (int b = 0; b < 8; ++b) sums[b] = BlockSums(codes[b], x + 32 * b);
    FoldHalves(sums, even, odd);
  }
  template <int kMax>
  static Ints Dots(const Bytes (&codes)[8], const int8_t* x) {
    __m256i even, odd;
    HalfDots(codes, x, even, odd);
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
    __m256i even, odd;
    HalfDots(codes, x, even, odd);
    const __m256i even_scales = _mm256_srai_epi32(_mm256_slli_epi32(scales, 16), 16);
    const __m256i odd_scales = _mm256_srai_epi32(scales, 16);
    return _mm256_add_epi32(_mm256_mullo_epi32(even, even_scales), _mm256_mullo_epi32(odd, odd_scales));
  }

  static constexpr size_t kPanelRows = 16;
  static constexpr size_t kPanelsTogether = 2;  // Each broadcast of activations meets two panels of weights.
  using PanelFloats = __m512;
  using PanelInts = __m512i;

  // Signed codes become unsigned, 128 too large: VNNI multiplies unsigned by signed bytes.
  BARN_INLINED static Bytes FlipSigns(Bytes codes) {
    return _mm256_xor_si256(codes, _mm256_set1_epi8(static_cast<char>(0x80)));
  }

  BARN_INLINED static PanelFloats PanelSet(float value) { return _mm512_set1_ps(value); }
  BARN_INLINED static PanelFloats PanelLoad(const float* p) { return _mm512_loadu_ps(p); }
  static void PanelStore(float* p, PanelFloats a) { _mm512_storeu_ps(p, a); }
  BARN_INLINED static PanelFloats PanelMul(PanelFloats a, PanelFloats b) { return _mm512_mul_ps(a, b); }
  BARN_INLINED static PanelFloats PanelAdd(PanelFloats a, PanelFloats b) { return _mm512_add_ps(a, b); }
  BARN_INLINED static PanelFloats PanelMulAdd(PanelFloats a, PanelFloats b, PanelFloats c) {
    return _mm512_fmadd_ps(a, b, c);
  }
  BARN_INLINED static PanelFloats PanelNegate(PanelFloats a) { return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f)); }
  BARN_INLINED static PanelFloats PanelToFloats(PanelInts a) { return _mm512_cvtepi32_ps(a); }

  BARN_INLINED static PanelFloats PanelHalves(const uint8_t* p) { return _mm512_cvtph_ps(Load(p)); }
  BARN_INLINED static PanelInts PanelBytes(const uint8_t* p) { return _mm512_cvtepu8_epi32(Load16(p)); }
  BARN_INLINED static PanelInts PanelSignedBytes(const uint8_t* p) { return _mm512_cvtepi8_epi32(Load16(p)); }
  BARN_INLINED static PanelFloats PanelHalvedPowers(const uint8_t* p) {
    const __m512i e = PanelBytes(p);
    const __m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
    const __m512i subnormal = _mm512_sllv_epi32(_mm512_set1_epi32(0x00200000), e);
    const __mmask16 is_normal = _mm512_cmpgt_epi32_mask(e, _mm512_set1_epi32(1));
    return _mm512_castsi512_ps(_mm512_mask_blend_epi32(is_normal, subnormal, normal));
  }

  BARN_INLINED static PanelInts PanelLoadCodes(const uint8_t* p) { return _mm512_loadu_si512(p); }
  BARN_INLINED static PanelInts PanelOr(PanelInts a, PanelInts b) { return _mm512_or_si512(a, b); }
  // Bits kMask << kFrom of every byte, moved to kTo.
  template <int kFrom, int kTo, int kMask>
  BARN_INLINED static PanelInts PanelBits(PanelInts a) {
    PanelInts moved = a;
    if constexpr (kFrom > kTo) moved = _mm512_srli_epi16(a, kFrom - kTo);
    if constexpr (kFrom < kTo) moved = _mm512_slli_epi16(a, kTo - kFrom);
    return _mm512_and_si512(moved, _mm512_set1_epi8(static_cast<char>(kMask << kTo)));
  }
  // Signed entries come out 128 too large, as FlipSigns leaves them.
  template <bool kSigned>
  BARN_INLINED static PanelInts PanelLookup(PanelInts indices, const int8_t* table) {
    const __m128i flip = _mm_set1_epi8(static_cast<char>(kSigned ? 0x80 : 0));
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_xor_si128(Load16(table), flip)), indices);
  }

  BARN_INLINED static __m512i Spread(const void* p) {
    int32_t four;
    memcpy(&four, p, sizeof(four));
    return _mm512_set1_epi32(four);
  }
  // In every lane the sum of two products of 16 bits.
  BARN_INLINED static PanelInts ShortProducts(PanelInts a, const int16_t* x) {
    return PanelAddPairs(_mm512_setzero_si512(), a, x);
  }
  // Two signed bytes of every row, as 16 bits each.
  BARN_INLINED static PanelInts PanelPairs(const uint8_t* p) { return _mm512_cvtepi8_epi16(Load(p)); }
  // The nibbles of each byte in its place.
  BARN_INLINED static PanelInts PanelLowNibbles(PanelInts pairs) {
    return _mm512_and_si512(pairs, _mm512_set1_epi16(15));
  }
  BARN_INLINED static PanelInts PanelHighNibbles(PanelInts pairs) {
    return _mm512_and_si512(_mm512_srli_epi16(pairs, 4), _mm512_set1_epi16(15));
  }
  // The way back from PanelPairs.
  static void PanelStorePairs(uint8_t* p, PanelInts pairs) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi16_epi8(pairs));
  }
  // Adds their products with x[0] and x[1].
  BARN_INLINED static PanelInts PanelAddPairs(PanelInts sum, PanelInts pairs, const int16_t* x) {
    return _mm512_dpwssd_epi32(sum, pairs, Spread(x));
  }

  // Adds the products of code registers kFirst .. kFirst + kCount - 1 of kPanels blocks with kTokens tokens.
  // x: [8, tokens] groups of four activations.
  template <int kFirst, int kCount, class Source, int kPanels, int kTokens>
  BARN_INLINED static void AddDots(const Source (&codes)[kPanels], const int8_t* x,
                                   PanelInts (&dots)[kPanels][kTokens]) {
    Unroll<kCount>([&]<int kI>() BARN_INLINED {
      PanelInts weights[kPanels];
      for (int p = 0; p < kPanels; ++p) weights[p] = codes[p].template Code<kFirst + kI>();
      for (int t = 0; t < kTokens; ++t) {
        const PanelInts four = Spread(x + 4 * ((kFirst + kI) * kTokens + t));
        for (int p = 0; p < kPanels; ++p) dots[p][t] = _mm512_dpbusd_epi32(dots[p][t], weights[p], four);
      }
    });
  }
  template <int kMax, class Source, int kPanels, int kTokens>
  BARN_INLINED static void PanelDots(const Source (&codes)[kPanels], const int8_t* x,
                                     PanelInts (&dots)[kPanels][kTokens]) {
    for (auto& panel_dots : dots) {
      for (PanelInts& dot : panel_dots) dot = _mm512_setzero_si512();
    }
    AddDots<0, 8>(codes, x, dots);
  }
  // sums16: [tokens, 2].
  template <class Source, int kPanels, int kTokens>
  BARN_INLINED static void PanelSignedDots(const Source (&codes)[kPanels], const int8_t* x, const int16_t* sums16,
                                           PanelInts (&dots)[kPanels][kTokens]) {
    PanelOffsetDots<255, 128>(codes, x, sums16, dots);
  }
  // The codes are kOffset too large.
  template <int kMax, int kOffset, class Source, int kPanels, int kTokens>
  BARN_INLINED static void PanelOffsetDots(const Source (&codes)[kPanels], const int8_t* x, const int16_t* sums16,
                                           PanelInts (&dots)[kPanels][kTokens]) {
    for (int t = 0; t < kTokens; ++t) {
      const PanelInts start = ShortProducts(_mm512_set1_epi16(-kOffset), sums16 + 2 * t);
      for (int p = 0; p < kPanels; ++p) dots[p][t] = start;
    }
    AddDots<0, 8>(codes, x, dots);
  }
  // Of one half of the block, whose codes are kOffset too large.
  template <int kHalf, int kMax, int kOffset, class Source, int kPanels, int kTokens>
  BARN_INLINED static void PanelHalfDots(const Source (&codes)[kPanels], const int8_t* x, const int16_t* sums16,
                                         PanelInts (&dots)[kPanels][kTokens]) {
    for (int t = 0; t < kTokens; ++t) {
      PanelInts start = _mm512_setzero_si512();
      if constexpr (kOffset != 0) {
        constexpr auto kPair = static_cast<uint32_t>(-kOffset & 0xffff) << (16 * kHalf);
        start = ShortProducts(_mm512_set1_epi32(static_cast<int>(kPair)), sums16 + 2 * t);
      }
      for (int p = 0; p < kPanels; ++p) dots[p][t] = start;
    }
    AddDots<4 * kHalf, 4>(codes, x, dots);
  }
  // scales: of the halves of the block. The codes are kOffset too large.
  template <int kMax, int kOffset, class Source, class Scales, int kPanels, int kTokens>
  BARN_INLINED static void PanelScaledDots(const Source (&codes)[kPanels], const Scales (&scales)[kPanels],
                                           const int8_t* x, const int16_t* sums16,
                                           PanelInts (&dots)[kPanels][kTokens]) {
    // The halves one after the other: their sums would not fit the registers together.
    Unroll<2>([&]<int kHalf>() BARN_INLINED {
      PanelInts half[kPanels][kTokens];
      PanelHalfDots<kHalf, kMax, kOffset>(codes, x, sums16, half);
      for (int p = 0; p < kPanels; ++p) {
        const PanelInts scale = scales[p].template Half<kHalf>();
        for (int t = 0; t < kTokens; ++t) {
          const PanelInts product = _mm512_mullo_epi32(half[p][t], scale);
          dots[p][t] = kHalf == 0 ? product : _mm512_add_epi32(dots[p][t], product);
        }
      }
    });
  }

  // kFactor times the sum of a chunk's activations. sums16: [8, tokens, 2].
  template <int kFactor, int kPanels, int kTokens>
  BARN_INLINED static void PanelStart(const int16_t* sums16, PanelInts (&dots)[kPanels][kTokens]) {
    for (int t = 0; t < kTokens; ++t) {
      PanelInts start = _mm512_setzero_si512();
      if constexpr (kFactor != 0) {
        for (int b = 0; b < 8; ++b) {
          start = PanelAddPairs(start, _mm512_set1_epi16(kFactor), sums16 + 2 * (kTokens * b + t));
        }
      }
      for (int p = 0; p < kPanels; ++p) dots[p][t] = start;
    }
  }
  template <class Source, int kPanels, int kTokens>
  BARN_INLINED static void PanelAddDots(const Source (&codes)[kPanels], const int8_t* x,
                                        PanelInts (&dots)[kPanels][kTokens]) {
    AddDots<0, 8>(codes, x, dots);
  }
  // As PanelScaledDots, on top of dots. scales: of the halves, as PanelPairs gives them. A sum of 16 fits 16 bits.
  template <int kMax, int kOffset, class Source, int kPanels, int kTokens>
  BARN_INLINED static void PanelAddScaledDots(const Source (&codes)[kPanels], const PanelInts (&scales)[kPanels],
                                              const int8_t* x, const int16_t* sums16,
                                              PanelInts (&dots)[kPanels][kTokens]) {
    static_assert(16 * 127 * kMax <= 32767);
    PanelInts low[kPanels][kTokens], high[kPanels][kTokens];
    PanelStart<0>(sums16, low);
    PanelStart<0>(sums16, high);
    AddDots<0, 4>(codes, x, low);
    AddDots<4, 4>(codes, x, high);
    for (int p = 0; p < kPanels; ++p) {
      for (int t = 0; t < kTokens; ++t) {
        const PanelInts both = _mm512_mask_blend_epi16(0xaaaaaaaa, low[p][t], _mm512_slli_epi32(high[p][t], 16));
        dots[p][t] = _mm512_dpwssd_epi32(dots[p][t], both, scales[p]);
      }
      if constexpr (kOffset != 0) {
        const PanelInts offsets = _mm512_mullo_epi16(scales[p], _mm512_set1_epi16(-kOffset));
        for (int t = 0; t < kTokens; ++t) dots[p][t] = PanelAddPairs(dots[p][t], offsets, sums16 + 2 * t);
      }
    }
  }

  static constexpr bool kFoldsScales = true;
  static constexpr bool kUnpacks = false;
  // What S * (u - kOffset) + kFoldedOffset is for each u, by row: a byte each, four rows in 128 bits.
  template <class Format, int kHalf>
  class ScaleTable {
   public:
    BARN_INLINED explicit ScaleTable(PanelInts pairs) {
      const PanelInts scales = _mm512_srai_epi32(kHalf == 0 ? _mm512_slli_epi32(pairs, 16) : pairs, 16);
      for (int i = 0; i < kTables; ++i) {
        tables_[i] = _mm512_add_epi32(_mm512_set1_epi8(Format::kFoldedOffset),
                                      _mm512_mullo_epi32(scales, _mm512_set1_epi32(Differences(4 * i))));
      }
    }
    BARN_INLINED PanelInts operator()(PanelInts codes) const {
      const PanelInts rows = _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c));
      const PanelInts index = _mm512_or_si512(_mm512_and_si512(codes, _mm512_set1_epi8(3)), rows);
      const PanelInts low = _mm512_shuffle_epi8(tables_[0], index);
      if constexpr (kTables == 1) return low;
      const PanelInts high = _mm512_shuffle_epi8(tables_[kTables - 1], index);
      return _mm512_mask_blend_epi8(_mm512_test_epi8_mask(codes, _mm512_set1_epi8(4)), low, high);
    }

   private:
    static constexpr int kTables = (Format::kMaxCode + 1) / 4;
    static_assert(kTables == 1 || kTables == 2);
    // u - kOffset of four codes from `first` on, a byte each with carries, so that a product with a scale has the four
    // products in its bytes once the offset is added.
    static constexpr int32_t Differences(int first) {
      int64_t sum = 0;
      for (int i = 0; i < 4; ++i) sum += (int64_t{first} + i - Format::kOffset) * (int64_t{1} << (8 * i));
      return static_cast<int32_t>(static_cast<uint32_t>(sum));
    }

    PanelInts tables_[kTables];
  };
  static void PanelStoreCodes(uint8_t* p, PanelInts codes) { _mm512_storeu_si512(p, codes); }

  // Panels of points (grid_layout.h).
  static constexpr bool kSplitsSigns = false;
  BARN_INLINED static PanelInts PanelWords(const uint8_t* p) { return _mm512_cvtepu16_epi32(Load(p)); }
  template <int kMask>
  BARN_INLINED static PanelInts PanelOdd(PanelInts lanes, int from) {
    const __m512i n = _mm512_and_si512(_mm512_srli_epi32(lanes, from), _mm512_set1_epi32(kMask));
    return _mm512_or_si512(_mm512_add_epi32(n, n), _mm512_set1_epi32(1));
  }
  template <int kBit>
  BARN_INLINED static PanelInts PanelSpreadBit(PanelInts lanes) {
    return _mm512_srai_epi32(_mm512_slli_epi32(lanes, 31 - kBit), 31);
  }
  template <int kJ, int kOffset>
  BARN_INLINED static PanelInts PanelWithSigns(PanelInts magnitudes, PanelInts signs) {
    const __m512i offset = _mm512_set1_epi8(kOffset);
    const __mmask64 negative = _mm512_test_epi8_mask(signs, _mm512_set1_epi8(static_cast<char>(1 << kJ)));
    return _mm512_mask_sub_epi8(_mm512_add_epi8(offset, magnitudes), negative, offset, magnitudes);
  }
  template <int kOffset>
  BARN_INLINED static PanelInts PanelEighths(PanelInts g, PanelInts down) {
    const __m512i shift = _mm512_add_epi8(_mm512_add_epi8(down, down), _mm512_set1_epi8(kOffset + 1));
    const __m512i eights = _mm512_and_si512(_mm512_slli_epi16(g, 3), _mm512_set1_epi8(static_cast<char>(0xf8)));
    return _mm512_add_epi8(eights, shift);
  }
  // Eight rows at a time: one by one is how points come out of memory.
  template <class Format, int kPoint, int kRegisters>
  BARN_INLINED static void PanelPoints(const uint8_t* low, const uint8_t* high, bool odd,
                                       PanelInts (&points)[kRegisters]) {
    Avx2PanelIsa::PanelInts first[kRegisters], last[kRegisters];
    Avx2PanelIsa::PanelPoints<Format, kPoint, kPanelRows>(low, high, odd, first);
    Avx2PanelIsa::PanelPoints<Format, kPoint, kPanelRows>(low + 8, high + (Format::kHighBits == 16 ? 16 : 8), odd,
                                                          last);
    for (int i = 0; i < kRegisters; ++i) points[i] = JoinHalves(first[i], last[i]);
  }
  BARN_INLINED static PanelInts JoinHalves(__m256i low, __m256i high) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
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
