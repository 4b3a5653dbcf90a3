#pragma once

#include "kernels/cpu/grid_layout.h"
#include "kernels/cpu/packed_driver.h"

// Panels of points (grid_layout.h): how they become the codes that packed_driver.h multiplies. One or two tokens meet
// codes that only exist in registers, more of them bytes that are made once per panel.

namespace barn {
namespace {

// Codes of one block, kMagnitude too large. The points of a fetch are several registers, so that those after the first
// come right after it.
template <class Isa, class Format>
struct PackedBlock<Isa, Points<Format>> {
  using Codes = typename Isa::PanelInts;
  static constexpr bool kSplitsSigns = Isa::kSplitsSigns && Format::kHasSigns;
  static constexpr int kFetched = Isa::template kPointsTogether<Format> * 8 / Format::kPoints;  // Registers.

  const uint8_t* signs;
  const uint8_t* low;
  const uint8_t* high;
  bool odd;  // The block: of words of four bits the upper half is its own.
  mutable Codes fetched[kFetched] = {};

  template <int kJ>
  BARN_INLINED Codes Code() const {
    if constexpr (Format::kHasSigns) {
      return Isa::template PanelWithSigns<kJ, Format::kMagnitude>(Coordinates<kJ>(), Signs());
    } else {
      const Codes down = Isa::template PanelSpreadBit<Format::ShiftBit(kJ / 2)>(Isa::PanelWords(high));
      return Isa::template PanelEighths<Format::kMagnitude>(Coordinates<kJ>(), down);
    }
  }
  template <int kJ>
  BARN_INLINED Codes Coordinates() const {
    if constexpr (kJ % kFetched == 0)
      Isa::template PanelPoints<Format, kJ * Format::kPoints / 8>(low, high, odd, fetched);
    return fetched[kJ % kFetched];
  }
  BARN_INLINED Codes Signs() const { return Isa::PanelLoadCodes(signs); }
};

template <class Isa, class Format>
class PackedChunk<Isa, Points<Format>> {
 public:
  using Layout = ChunkLayout<Isa, Points<Format>>;
  using Floats = typename Isa::PanelFloats;
  using Ints = typename Isa::PanelInts;

  BARN_INLINED PackedChunk(const uint8_t* chunk, const Layout& /*layout*/)
      : chunk_(chunk), d_(Isa::PanelMul(Isa::PanelHalves(chunk), Isa::PanelSet(Format::kScaleFactor))) {}

  BARN_INLINED Floats Scale(size_t b) const {
    if constexpr (Format::kKind == Kind::kScaled16) {
      return d_;
    } else if constexpr (Layout::kScalesInHigh) {
      return Isa::PanelMul(d_, Isa::PanelToFloats(Isa::template PanelOdd<7>(Isa::PanelWords(High(b)), 12)));
    } else {
      const Ints pairs = Isa::PanelBytes(chunk_ + Layout::scales + kRows * (b / 2));
      return Isa::PanelMul(d_, Isa::PanelToFloats(Isa::template PanelOdd<15>(pairs, 4 * (b % 2))));
    }
  }

  struct HalfScales {
    Ints pairs;
    template <int kHalf>
    BARN_INLINED Ints Half() const {
      return Isa::template PanelOdd<15>(pairs, 4 * kHalf);
    }
  };
  BARN_INLINED HalfScales Sixteens(size_t b) const { return {Isa::PanelBytes(chunk_ + Layout::scales + kRows * b)}; }

  BARN_INLINED PackedBlock<Isa, Points<Format>> Codes(size_t b) const {
    return {chunk_ + Layout::signs + 4 * kRows * b, chunk_ + Layout::low + Layout::kLowBytes * b, High(b), b % 2 == 1};
  }

 private:
  static constexpr size_t kRows = Isa::kPanelRows;

  BARN_INLINED const uint8_t* High(size_t b) const {
    return chunk_ + Layout::high + Layout::kHighBytes * (b / 2) + kRows * (Format::kHighBits / 8) * (b % 2);
  }

  const uint8_t* chunk_;
  Floats d_;
};

// The scales of a chunk of bytes (ScaleStore::kSignedByte or kSixteen).
template <class Isa, class Format>
void ExpandScales(const uint8_t* chunk, uint8_t* out) {
  using Layout = ChunkLayout<Isa, Points<Format>>;
  constexpr size_t kRows = Isa::kPanelRows;
  if constexpr (Layout::kScalesInHigh) {
    for (size_t i = 0; i < 8 * kRows; ++i) {
      out[i] = static_cast<uint8_t>(ReadAs<uint16_t>(chunk + Layout::high + sizeof(uint16_t) * i) >> 11 & 14) | 1;
    }
  } else {
    constexpr size_t kPairs = Format::kKind == Kind::kScaled16 ? 8 : 4;
    for (size_t pair = 0; pair < kPairs; ++pair) {
      for (size_t row = 0; row < kRows; ++row) {
        const uint8_t both = chunk[Layout::scales + kRows * pair + row];
        out[kRows * 2 * pair + row] = static_cast<uint8_t>(2 * (both & 15) + 1);
        out[kRows * (2 * pair + 1) + row] = static_cast<uint8_t>(2 * (both >> 4) + 1);
      }
    }
  }
}

// A panel of points becomes one of bytes, as PackPanel<Isa, Format> makes it from rows.
template <class Isa, class Format>
void ExpandPanel(const uint8_t* panel, size_t blocks, uint8_t* out) {
  constexpr ChunkLayout<Isa, Points<Format>> kFrom(8);
  constexpr ChunkLayout<Isa, Format> kTo(8);
  for (size_t block = 0; block < blocks; block += 8, panel += kFrom.bytes, out += kTo.bytes) {
    memcpy(out, panel, sizeof(uint16_t) * Isa::kPanelRows);
    ExpandScales<Isa, Format>(panel, out + kTo.s);
    const PackedChunk<Isa, Points<Format>> chunk(panel, kFrom);
    for (size_t b = 0; b < 8; ++b) {
      const auto codes = chunk.Codes(b);
      uint8_t* to = out + kTo.codes + kTo.kCodeBytes * b;
      Unroll<8>([&]<int kJ>()
                    BARN_INLINED { Isa::PanelStoreCodes(to + 4 * Isa::kPanelRows * kJ, codes.template Code<kJ>()); });
    }
  }
}

// So many tokens pay for a panel of bytes.
constexpr size_t kExpandTokensMin = 4;

template <class Isa, class Format>
void PointsProduct(const PackedArgs& a) {
  if (a.tokens >= kExpandTokensMin) {
    return ProductOfCopies<Isa, Points<Format>, Format, kTogether<Isa, Format>>(a, ExpandPanel<Isa, Format>);
  }
  const size_t panel_bytes = PanelBytes<Isa, Points<Format>>(a.blocks);
  const uint8_t* panel = a.panels;
  for (size_t row = 0; row < a.rows; row += Isa::kPanelRows, panel += panel_bytes) {
    PanelsTimesAll<Isa, Points<Format>, 1, kExpandTokensMin / 2>(panel, a, row);
  }
}

}  // namespace
}  // namespace barn
