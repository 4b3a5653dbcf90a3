#pragma once

#include "kernels/cpu/isa_avx2.h"
#include "kernels/cpu/unroll.h"

// What packed_driver.h asks of AVX2: panels of 8 rows, one row per 32-bit lane.

namespace barn {
namespace {

struct Avx2PanelIsa : Avx2Isa {
  static constexpr size_t kPanelRows = 8;
  static constexpr size_t kPanelsTogether = 2;  // Of codes in bytes: see kUnpacks.
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

  // Products of code register kJ with four activations of each token at x, pairs of them added up in 16 bits, on top of
  // sums unless they start them.
  template <bool kStart, int kJ, class Source, int kPanels, int kTokens>
  BARN_INLINED static void AddPairProducts(const Source (&codes)[kPanels], const int8_t* x,
                                           __m256i (&sums)[kPanels][kTokens]) {
    const auto add = [&](int p, int t, __m256i product)
                         BARN_INLINED { sums[p][t] = kStart ? product : _mm256_add_epi16(sums[p][t], product); };
    if constexpr (Source::kSplitsSigns) {
      static_assert(kPanels == 1);
      const __m256i magnitudes = codes[0].template Coordinates<kJ>();
      const __m256i directions = Directions<kJ>(codes[0].Signs());
      for (int t = 0; t < kTokens; ++t) {
        add(0, t, _mm256_maddubs_epi16(magnitudes, _mm256_sign_epi8(Spread(x + 4 * t), directions)));
      }
    } else {
      __m256i weights[kPanels];
      for (int p = 0; p < kPanels; ++p) weights[p] = codes[p].template Code<kJ>();
      for (int t = 0; t < kTokens; ++t) {
        const __m256i four = Spread(x + 4 * t);
        for (int p = 0; p < kPanels; ++p) add(p, t, _mm256_maddubs_epi16(weights[p], four));
      }
    }
  }
  // So many registers of codes up to `max` add up in 16 bits.
  static constexpr int ShortSumsMax(int max) { return max <= 15 ? 8 : max <= 31 ? 4 : max <= 63 ? 2 : 1; }
  // The sums of code registers kFirst .. kFirst + kCount - 1. x: [8, tokens] groups of four.
  template <int kMax, int kFirst, int kCount, class Source, int kPanels, int kTokens>
  BARN_INLINED static void ShortSums(const Source (&codes)[kPanels], const int8_t* x,
                                     __m256i (&sums)[kPanels][kTokens]) {
    static_assert(kCount * 2 * 127 * kMax <= 32767);
    Unroll<kCount>([&]<int kI>() BARN_INLINED {
      AddPairProducts<kI == 0, kFirst + kI>(codes, x + 4 * (kFirst + kI) * kTokens, sums);
    });
  }
  template <int kMax, class Source, int kPanels, int kTokens>
  BARN_INLINED static void PanelDots(const Source (&codes)[kPanels], const int8_t* x,
                                     PanelInts (&dots)[kPanels][kTokens]) {
    AddDots<kMax, true>(codes, x, dots);
  }
  // The codes are kOffset too large. sums16: [tokens, 2].
  template <int kMax, int kOffset, class Source, int kPanels, int kTokens>
  BARN_INLINED static void PanelOffsetDots(const Source (&codes)[kPanels], const int8_t* x, const int16_t* sums16,
                                           PanelInts (&dots)[kPanels][kTokens]) {
    for (int t = 0; t < kTokens; ++t) {
      const __m256i start = _mm256_madd_epi16(_mm256_set1_epi16(-kOffset), Spread(sums16 + 2 * t));
      for (int p = 0; p < kPanels; ++p) dots[p][t] = start;
    }
    AddDots<kMax, false>(codes, x, dots);
  }
  // Of one half of the block, whose codes are kOffset too large.
  template <int kHalf, int kMax, int kOffset, class Source, int kPanels, int kTokens>
  BARN_INLINED static void PanelHalfDots(const Source (&codes)[kPanels], const int8_t* x, const int16_t* sums16,
                                         PanelInts (&dots)[kPanels][kTokens]) {
    static_assert(ShortSumsMax(kMax) >= 4);
    constexpr auto kPair = static_cast<uint32_t>(-kOffset & 0xffff) << (16 * kHalf);
    __m256i sums[kPanels][kTokens];
    ShortSums<kMax, 4 * kHalf, 4>(codes, x, sums);
    for (int t = 0; t < kTokens; ++t) {
      const __m256i offsets = _mm256_madd_epi16(_mm256_set1_epi32(static_cast<int>(kPair)), Spread(sums16 + 2 * t));
      for (int p = 0; p < kPanels; ++p) {
        dots[p][t] = _mm256_add_epi32(offsets, _mm256_madd_epi16(sums[p][t], _mm256_set1_epi16(1)));
      }
    }
  }
  // dots, unless they start here, + the sum of the block.
  template <int kMax, bool kStart, class Source, int kPanels, int kTokens>
  BARN_INLINED static void AddDots(const Source (&codes)[kPanels], const int8_t* x,
                                   PanelInts (&dots)[kPanels][kTokens]) {
    constexpr int kCount = ShortSumsMax(kMax);
    const __m256i ones = _mm256_set1_epi16(1);
    Unroll<8 / kCount>([&]<int kPart>() BARN_INLINED {
      __m256i sums[kPanels][kTokens];
      ShortSums<kMax, kPart * kCount, kCount>(codes, x, sums);
      for (int p = 0; p < kPanels; ++p) {
        for (int t = 0; t < kTokens; ++t) {
          const __m256i sum = _mm256_madd_epi16(sums[p][t], ones);
          dots[p][t] = kStart && kPart == 0 ? sum : _mm256_add_epi32(dots[p][t], sum);
        }
      }
    });
  }
  template <class Source, int kPanels, int kTokens>
  BARN_INLINED static void PanelSignedDots(const Source (&codes)[kPanels], const int8_t* x, const int16_t*,
                                           PanelInts (&dots)[kPanels][kTokens]) {
    const __m256i ones = _mm256_set1_epi16(1);
    Unroll<8>([&]<int kI>() BARN_INLINED {
      // |w| * (x with the sign of w); a pair is at most 2 * 128 * 127.
      __m256i weights[kPanels], magnitudes[kPanels];
      for (int p = 0; p < kPanels; ++p) {
        weights[p] = codes[p].template Code<kI>();
        magnitudes[p] = _mm256_abs_epi8(weights[p]);
      }
      for (int t = 0; t < kTokens; ++t) {
        const __m256i four = Spread(x + 4 * (kI * kTokens + t));
        for (int p = 0; p < kPanels; ++p) {
          const __m256i pairs = _mm256_maddubs_epi16(magnitudes[p], _mm256_sign_epi8(four, weights[p]));
          const __m256i product = _mm256_madd_epi16(pairs, ones);
          dots[p][t] = kI == 0 ? product : _mm256_add_epi32(dots[p][t], product);
        }
      }
    });
  }
  // A half's scale, of 16-bit pairs of them, in both 16-bit parts of a lane, for products with pairs of columns.
  template <int kHalf>
  BARN_INLINED static __m256i ScaleTwice(__m256i pairs) {
    return kHalf == 0 ? _mm256_blend_epi16(pairs, _mm256_slli_epi32(pairs, 16), 0xaa)
                      : _mm256_blend_epi16(_mm256_srli_epi32(pairs, 16), pairs, 0xaa);
  }
  // scales: of the halves of the block. sums16: [tokens, 2]. The codes are kOffset too large.
  template <int kMax, int kOffset, class Source, class Scales, int kPanels, int kTokens>
  BARN_INLINED static void PanelScaledDots(const Source (&codes)[kPanels], const Scales (&scales)[kPanels],
                                           const int8_t* x, const int16_t* sums16,
                                           PanelInts (&dots)[kPanels][kTokens]) {
    PanelInts pairs[kPanels];
    for (int p = 0; p < kPanels; ++p) {
      pairs[p] =
          _mm256_blend_epi16(scales[p].template Half<0>(), _mm256_slli_epi32(scales[p].template Half<1>(), 16), 0xaa);
      for (PanelInts& dot : dots[p]) dot = _mm256_setzero_si256();
    }
    PanelAddScaledDots<kMax, kOffset>(codes, pairs, x, sums16, dots);
  }

  template <int kFactor, int kPanels, int kTokens>
  BARN_INLINED static void PanelStart(const int16_t*, PanelInts (&dots)[kPanels][kTokens]) {
    static_assert(kFactor == 0);
    for (auto& panel_dots : dots) {
      for (__m256i& dot : panel_dots) dot = _mm256_setzero_si256();
    }
  }
  // As PanelScaledDots, on top of dots. scales: of the halves, as PanelPairs gives them.
  template <int kMax, int kOffset, class Source, int kPanels, int kTokens>
  BARN_INLINED static void PanelAddScaledDots(const Source (&codes)[kPanels], const PanelInts (&scales)[kPanels],
                                              const int8_t* x, const int16_t* sums16,
                                              PanelInts (&dots)[kPanels][kTokens]) {
    constexpr int kCount = ShortSumsMax(kMax) < 4 ? ShortSumsMax(kMax) : 4;
    if constexpr (kOffset != 0) {
      for (int p = 0; p < kPanels; ++p) {
        const __m256i offsets = _mm256_mullo_epi16(scales[p], _mm256_set1_epi16(-kOffset));
        for (int t = 0; t < kTokens; ++t) dots[p][t] = PanelAddPairs(dots[p][t], offsets, sums16 + 2 * t);
      }
    }
    Unroll<8 / kCount>([&]<int kPart>() BARN_INLINED {
      __m256i sums[kPanels][kTokens];
      ShortSums<kMax, kPart * kCount, kCount>(codes, x, sums);
      for (int p = 0; p < kPanels; ++p) {
        const __m256i scale = ScaleTwice<kPart * kCount / 4>(scales[p]);
        for (int t = 0; t < kTokens; ++t) {
          dots[p][t] = _mm256_add_epi32(dots[p][t], _mm256_madd_epi16(sums[p][t], scale));
        }
      }
    });
  }

  // Panels of points (grid_layout.h).
  static void PanelStoreCodes(uint8_t* p, PanelInts codes) { StoreWords(p, 0, codes); }
  BARN_INLINED static PanelInts PanelWords(const uint8_t* p) { return _mm256_cvtepu16_epi32(Load16(p)); }
  // 2 n + 1 for the bits kMask << from of every lane.
  template <int kMask>
  BARN_INLINED static PanelInts PanelOdd(PanelInts lanes, int from) {
    const __m256i n = _mm256_and_si256(_mm256_srli_epi32(lanes, from), _mm256_set1_epi32(kMask));
    return _mm256_or_si256(_mm256_add_epi32(n, n), _mm256_set1_epi32(1));
  }
  // All bits of a lane become bit kBit of it.
  template <int kBit>
  BARN_INLINED static PanelInts PanelSpreadBit(PanelInts lanes) {
    return _mm256_srai_epi32(_mm256_slli_epi32(lanes, 31 - kBit), 31);
  }
  // kOffset + magnitude, or minus where bit kJ of the byte in signs is set.
  template <int kJ, int kOffset>
  BARN_INLINED static PanelInts PanelWithSigns(PanelInts magnitudes, PanelInts signs) {
    return _mm256_add_epi8(_mm256_sign_epi8(magnitudes, Directions<kJ>(signs)), _mm256_set1_epi8(kOffset));
  }
  // Bytes of which none is 0, negative where bit kJ is set.
  template <int kJ>
  BARN_INLINED static PanelInts Directions(PanelInts signs) {
    return _mm256_or_si256(ShiftLeft(signs, 7 - kJ), _mm256_set1_epi8(1));
  }
  static constexpr bool kSplitsSigns = true;  // Few tokens take the signs, and magnitudes need no offset.
  // kOffset + 8 g + 1 for bytes g in {-1, 0, 1}, or - 1 where `down` is all ones.
  template <int kOffset>
  BARN_INLINED static PanelInts PanelEighths(PanelInts g, PanelInts down) {
    const __m256i shift = _mm256_add_epi8(_mm256_add_epi8(down, down), _mm256_set1_epi8(kOffset + 1));
    return _mm256_add_epi8(_mm256_sign_epi8(_mm256_set1_epi8(8), g), shift);
  }
  // So many points of a row come out of one fetch.
  template <class Format>
  static constexpr int kPointsTogether = 1;
  // The indices of point kPoint of eight rows: low bytes of kStride rows, above them the bits of `high`.
  template <class Format, int kPoint, size_t kStride>
  BARN_INLINED static void RowIndices(const uint8_t* low, const uint8_t* high, bool odd, uint32_t (&indices)[8]) {
    low += kStride * kPoint;
    if constexpr (Format::kHighBits == 0) {
      for (int r = 0; r < 8; ++r) indices[r] = low[r];
    } else {
      constexpr int kUp = 8 - Format::kHighStride * kPoint;
      __m128i words = Format::kHighBits == 16 ? Load16(high) : _mm_cvtepu8_epi16(Load8(high));
      if (Format::kHighBits == 4 && odd) words = _mm_srli_epi16(words, 4);
      words = kUp >= 0 ? _mm_slli_epi16(words, kUp) : _mm_srli_epi16(words, -kUp);
      words = _mm_and_si128(words, _mm_set1_epi16(static_cast<int16_t>(Format::kHighMask << 8)));
      words = _mm_or_si128(words, _mm_cvtepu8_epi16(Load8(low)));
      const auto first = static_cast<uint64_t>(_mm_cvtsi128_si64(words));
      const auto second = static_cast<uint64_t>(_mm_extract_epi64(words, 1));
      for (int r = 0; r < 4; ++r) {
        indices[r] = static_cast<uint16_t>(first >> (16 * r));
        indices[4 + r] = static_cast<uint16_t>(second >> (16 * r));
      }
    }
  }
  // Point kPoint of eight rows: its four columns, or the first four and the others of eight.
  template <class Format, int kPoint, size_t kStride = kPanelRows>
  BARN_INLINED static void PanelPoints(const uint8_t* low, const uint8_t* high, bool odd, PanelInts (&points)[1]) {
    uint32_t i[8];
    RowIndices<Format, kPoint, kStride>(low, high, odd, i);
    const auto at = [&](int r) BARN_INLINED { return static_cast<int>(Format::Grid()[i[r]]); };
    points[0] = _mm256_setr_epi32(at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7));
  }
  template <class Format, int kPoint, size_t kStride = kPanelRows>
  BARN_INLINED static void PanelPoints(const uint8_t* low, const uint8_t* high, bool odd, PanelInts (&points)[2]) {
    uint32_t i[8];
    RowIndices<Format, kPoint, kStride>(low, high, odd, i);
    const auto two = [&](int r) BARN_INLINED {
      const __m128i first = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(Format::Grid() + i[r]));
      return _mm_loadh_pi(_mm_castsi128_ps(first), reinterpret_cast<const __m64*>(Format::Grid() + i[r + 1]));
    };
    const __m256 a = _mm256_insertf128_ps(_mm256_castps128_ps256(two(0)), two(4), 1);
    const __m256 b = _mm256_insertf128_ps(_mm256_castps128_ps256(two(2)), two(6), 1);
    points[0] = _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0x88));
    points[1] = _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0xdd));
  }

  static constexpr bool kFoldsScales = false;  // Sums of two products with codes up to 255 do not fit 16 bits.
  // Every second instruction would cut codes out of planes: many tokens meet bytes, two panels of which share each
  // broadcast of activations.
  static constexpr bool kUnpacks = true;
};

}  // namespace
}  // namespace barn
