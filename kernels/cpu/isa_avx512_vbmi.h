#pragma once

#include "kernels/cpu/grid_driver.h"
#include "kernels/cpu/isa_avx512.h"

// What VBMI adds to isa_avx512.h: grids looked up in registers, 32 points at once. The coordinates of a point have up
// to four or eight values, so that two or three bits of each fit a word of 16 bits. Points of 1024 (IQ2_S) are as quick
// to load one by one; 2048 of IQ1 are not, whose words take a quarter of the first-level cache that points would.

namespace barn {
namespace {

// The points of a grid in that form, and the values that its bits stand for, as often as they fit a register.
template <class Format>
struct CompactGrid {
  static constexpr int kBits = Format::kPoints == 4 ? 2 : 3;
  static constexpr int kColumns = 32 / Format::kPoints;
  static constexpr int kCount = 256 * (Format::kHighMask + 1);
  static constexpr int kValues = 1 << kBits;

  alignas(64) uint16_t words[kCount];
  alignas(64) uint8_t values[64];

  // Not a constructor: those of static objects would run on any machine.
  void Fill() {
    uint8_t value_of[kValues] = {};
    int found = 0;
    for (int byte = 0; byte < 256; ++byte) {
      if (found < kValues && Has(byte)) value_of[found++] = static_cast<uint8_t>(byte);
    }
    for (int i = 0; i < 64; ++i) values[i] = value_of[i % kValues];
    for (int i = 0; i < kCount; ++i) {
      words[i] = 0;
      for (int k = 0; k < kColumns; ++k) {
        int code = 0;
        while (code + 1 < kValues && value_of[code] != Coordinate(i, k)) ++code;
        words[i] = static_cast<uint16_t>(words[i] | code << (kBits * k));
      }
    }
  }

 private:
  static int Coordinate(int point, int k) { return static_cast<int>(Format::Grid()[point] >> (8 * k) & 255); }
  static bool Has(int byte) {
    for (int i = 0; i < kCount; ++i) {
      for (int k = 0; k < kColumns; ++k) {
        if (Coordinate(i, k) == byte) return true;
      }
    }
    return false;
  }
};

struct Avx512VbmiIsa : Avx512Isa {
  template <class Format>
  static constexpr int kPointsTogether = 2;

  template <class Format, int kPoint, int kRegisters>
  BARN_INLINED static void PanelPoints(const uint8_t* low, const uint8_t* high, bool odd,
                                       PanelInts (&points)[kRegisters]) {
    const PanelInts words = LookUp(grid<Format>.words, Indices<Format, kPoint>(low, high, odd));
    const PanelInts values = _mm512_loadu_si512(grid<Format>.values);
    const PanelInts rows[2] = {_mm512_cvtepu16_epi32(_mm512_castsi512_si256(words)),
                               _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(words, 1))};
    for (int i = 0; i < kRegisters; ++i) {
      const PanelInts word = rows[i * 2 / kRegisters];
      // Each byte begins with the bits of its column; the values repeat, so it does not matter what is above.
      const long long shifts = Format::kPoints == 8 ? 0x2926232009060300
                               : i % 2 == 0         ? 0x2624222006040200
                                                    : 0x2e2c2a280e0c0a08;
      points[i] = _mm512_permutexvar_epi8(_mm512_multishift_epi64_epi8(_mm512_set1_epi64(shifts), word), values);
    }
  }

  template <class Format>
  static CompactGrid<Format> grid;  // To be filled before the first product.

 private:
  // Points kPoint and kPoint + 1 of 16 rows, 16 bits each.
  template <class Format, int kPoint>
  BARN_INLINED static PanelInts Indices(const uint8_t* low, const uint8_t* high, bool odd) {
    const PanelInts indices = _mm512_cvtepu8_epi16(Load(low + kPanelRows * kPoint));
    if constexpr (Format::kHighBits == 0) {
      return indices;
    } else {
      __m256i words = Format::kHighBits == 16 ? Load(high) : _mm256_cvtepu8_epi16(Load16(high));
      if (Format::kHighBits == 4 && odd) words = _mm256_srli_epi16(words, 4);
      constexpr int kUp = 8 - Format::kHighStride * kPoint;
      const PanelInts both = JoinHalves(MoveUp<kUp>(words), MoveUp<kUp - Format::kHighStride>(words));
      const PanelInts mask = _mm512_set1_epi16(static_cast<int16_t>(Format::kHighMask << 8));
      return _mm512_or_si512(indices, _mm512_and_si512(both, mask));
    }
  }
  template <int kBits>
  BARN_INLINED static __m256i MoveUp(__m256i words) {
    return kBits >= 0 ? _mm256_slli_epi16(words, kBits) : _mm256_srli_epi16(words, -kBits);
  }

  // table[i] for each word i: 64 entries fit two registers, masks choose among the parts.
  template <int kCount>
  BARN_INLINED static PanelInts LookUp(const uint16_t (&table)[kCount], PanelInts indices) {
    constexpr int kParts = kCount / 64;
    PanelInts found[kParts];
    for (int i = 0; i < kParts; ++i) {
      found[i] = _mm512_permutex2var_epi16(_mm512_loadu_si512(table + 64 * i), indices,
                                           _mm512_loadu_si512(table + 64 * i + 32));
    }
    for (int parts = kParts, bit = 64; parts > 1; parts /= 2, bit *= 2) {
      const __mmask32 upper = _mm512_test_epi16_mask(indices, _mm512_set1_epi16(static_cast<int16_t>(bit)));
      for (int i = 0; i < parts / 2; ++i) found[i] = _mm512_mask_blend_epi16(upper, found[2 * i], found[2 * i + 1]);
    }
    return found[0];
  }
};

template <class Format>
CompactGrid<Format> Avx512VbmiIsa::grid;

// The formats that gain, in place of those in a table for AVX-512.
template <class... Formats>
void UseVbmi(KernelTable& table) {
  (Avx512VbmiIsa::grid<Formats>.Fill(), ...);
  ((table.packed[Formats::kTypeId].product = PointsProduct<Avx512VbmiIsa, Formats>), ...);
}
inline KernelTable MakeVbmiTable(const KernelTable& avx512) {
  KernelTable table = avx512;
  UseVbmi<FormatIQ1_S, FormatIQ1_M, FormatIQ2_XXS, FormatIQ2_XS, FormatIQ3_XXS, FormatIQ3_S>(table);
  return table;
}

}  // namespace
}  // namespace barn
