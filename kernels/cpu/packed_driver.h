#pragma once

#include "kernels/cpu/int8_driver.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/packed_layout.h"

// Products of packed panels (packed_layout.h) with int8 activations. Everything happens in registers: planes become
// codes, codes meet up to Isa::kPanelTokens tokens. The order of float operations is that of int8_driver.h.

namespace barn {
namespace {

// Codes of one block, by register: Code<j>() has columns 4 j .. 4 j + 3 of every row.
template <class Isa, class Format>
struct PackedBlock {
  using Codes = typename Isa::PanelInts;
  static constexpr int kBits = Format::kBits;
  static constexpr int kLowBits = Planes<kBits>::kLowBits;
  static constexpr int kHighBits = Planes<kBits>::kHighBits;
  static constexpr size_t kRegister = 4 * Isa::kPanelRows;

  const uint8_t* planes;

  template <int kJ>
  BARN_INLINED Codes Code() const {
    Codes codes = Plane<kLowBits, kJ, 0>(planes);
    if constexpr (kHighBits > 0) {
      codes = Isa::PanelOr(codes, Plane<kHighBits, kJ, kLowBits>(planes + kLowBits * kRegister));
    }
    if constexpr (Format::kTable != nullptr) {
      codes = Isa::template PanelLookup<Format::kKind == Kind::kSigned>(codes, Format::kTable);
    }
    return codes;
  }

 private:
  // kWidth bits of code kJ at bits kTo and up of every byte.
  template <int kWidth, int kJ, int kTo>
  BARN_INLINED static Codes Plane(const uint8_t* plane) {
    const Codes stored = Isa::PanelLoadCodes(plane + kJ % kWidth * kRegister);
    if constexpr (kWidth == 8) {
      return stored;
    } else {
      return Isa::template PanelBits<kJ / kWidth * kWidth, kTo, (1 << kWidth) - 1>(stored);
    }
  }
};

// A chunk of a panel: the scales of every row, and where the codes are.
template <class Isa, class Format>
class PackedChunk {
 public:
  using Layout = ChunkLayout<Isa, Format>;
  using Floats = typename Isa::PanelFloats;

  BARN_INLINED PackedChunk(const uint8_t* chunk, const Layout& layout) : chunk_(chunk), layout_(layout) {
    if constexpr (IsPerChunk(Layout::kStore)) {
      d_ = Isa::PanelHalves(chunk);
      if constexpr (Layout::kHasDmin) dmin_ = Isa::PanelNegate(Isa::PanelHalves(chunk + layout.dmin));
    }
  }
  // For kScaled16 the chunk's, of which the integers come on top.
  BARN_INLINED Floats Scale(size_t b) const {
    if constexpr (Layout::kStore == ScaleStore::kExponent) {
      return Isa::PanelHalvedPowers(chunk_ + layout_.s + kRows * b);
    } else if constexpr (!IsPerChunk(Layout::kStore)) {
      return Isa::PanelHalves(chunk_ + kHalves * b);
    } else if constexpr (Layout::kStore == ScaleStore::kBytePair) {
      return Isa::PanelMul(d_, Isa::PanelToFloats(Isa::PanelBytes(chunk_ + layout_.s + kRows * b)));
    } else if constexpr (Layout::kStore == ScaleStore::kSignedByte) {
      return Isa::PanelMul(d_, Isa::PanelToFloats(Isa::PanelSignedBytes(chunk_ + layout_.s + kRows * b)));
    } else {
      return d_;
    }
  }
  BARN_INLINED Floats Min(size_t b, Floats scale) const {
    if constexpr (Layout::kStore == ScaleStore::kHalfPair) {
      return Isa::PanelHalves(chunk_ + layout_.dmin + kHalves * b);
    } else if constexpr (Layout::kStore == ScaleStore::kBytePair) {
      return Isa::PanelMul(dmin_, Isa::PanelToFloats(Isa::PanelBytes(chunk_ + layout_.m + kRows * b)));
    } else if constexpr (Layout::kStore == ScaleStore::kSixteenMin) {
      return dmin_;
    } else {
      return Isa::PanelMul(scale, Isa::PanelSet(Format::kMinFactor));
    }
  }
  const uint8_t* Sixteens(size_t b) const { return chunk_ + layout_.s + 2 * kRows * b; }
  const uint8_t* MinSixteens(size_t b) const { return chunk_ + layout_.m + 2 * kRows * b; }
  PackedBlock<Isa, Format> Codes(size_t b) const { return {chunk_ + layout_.codes + Layout::kCodeBytes * b}; }

 private:
  static constexpr size_t kRows = Isa::kPanelRows;
  static constexpr size_t kHalves = sizeof(uint16_t) * kRows;

  const uint8_t* chunk_;
  Layout layout_;
  Floats d_, dmin_;
};

// Adds the products of block kB of a chunk with kTokens tokens to lane kB of each; block: where it is in x.
template <class Isa, class Format, int kTokens, int kB>
BARN_INLINED inline void AddBlock(const PackedChunk<Isa, Format>& chunk, size_t block, const QuantizedView& x,
                                  const size_t (&first_block)[kTokens],
                                  typename Isa::PanelFloats (&lanes)[kTokens][8]) {
  using Floats = typename Isa::PanelFloats;
  const PackedBlock<Isa, Format> codes = chunk.Codes(kB);
  const int8_t* x_codes[kTokens];
  const int16_t* sums16[kTokens];
  for (int t = 0; t < kTokens; ++t) {
    x_codes[t] = x.codes + 32 * (first_block[t] + block);
    sums16[t] = x.sums16 + 2 * (first_block[t] + block);
  }
  typename Isa::PanelInts dots[kTokens];
  if constexpr (Format::kKind == Kind::kAffine) {
    Isa::template PanelDots<Format::kMaxCode>(codes, x_codes, dots);
  } else if constexpr (Format::kKind == Kind::kSigned) {
    Isa::PanelSignedDots(codes, x_codes, sums16, dots);
  } else {
    Isa::template PanelScaledDots<Format::kMaxCode, Format::kOffset>(codes, chunk.Sixteens(kB), x_codes, sums16, dots);
  }
  const Floats scale = chunk.Scale(kB);
  Floats min;
  if constexpr (Format::kHasMin) min = chunk.Min(kB, scale);
  for (int t = 0; t < kTokens; ++t) {
    Floats& lane = lanes[t][kB];
    const Floats x_scale = Isa::PanelSet(x.scales[first_block[t] + block]);
    lane = Isa::PanelMulAdd(Isa::PanelToFloats(dots[t]), Isa::PanelMul(scale, x_scale), lane);
    if constexpr (Format::kHasMin && Format::kKind == Kind::kAffine) {
      lane = Isa::PanelMulAdd(min, Isa::PanelSet(x.sums[first_block[t] + block]), lane);
    } else if constexpr (Format::kHasMin) {
      const Floats sums = Isa::PanelToFloats(Isa::PanelPairSums(chunk.MinSixteens(kB), sums16[t]));
      lane = Isa::PanelMulAdd(sums, Isa::PanelMul(min, x_scale), lane);
    }
  }
}

// One panel against kTokens tokens; out[t]: where the panel's first row of token t goes.
template <class Isa, class Format, int kTokens>
[[gnu::noinline]] void PanelTimesTokens(const uint8_t* panel, size_t blocks, const QuantizedView& x,
                                        const size_t (&first_block)[kTokens], const float* bias,
                                        float* const (&out)[kTokens]) {
  using Floats = typename Isa::PanelFloats;
  Floats lanes[kTokens][8];
  for (auto& token_lanes : lanes) {
    for (Floats& lane : token_lanes) lane = Isa::PanelSet(0.0f);
  }
  constexpr ChunkLayout<Isa, Format> kFull(8);
  size_t block = 0;
  for (; block + 8 <= blocks; block += 8, panel += kFull.bytes) {
    const PackedChunk<Isa, Format> chunk(panel, kFull);
    Unroll<8>([&]<int kB>()
                  BARN_INLINED { AddBlock<Isa, Format, kTokens, kB>(chunk, block + kB, x, first_block, lanes); });
  }
  if (block < blocks) {
    const PackedChunk<Isa, Format> chunk(panel, ChunkLayout<Isa, Format>(blocks - block));
    Unroll<7>([&]<int kB>() BARN_INLINED {
      if (block + kB >= blocks) return;
      AddBlock<Isa, Format, kTokens, kB>(chunk, block + kB, x, first_block, lanes);
    });
  }
  const Floats bias_lanes = bias == nullptr ? Isa::PanelSet(0.0f) : Isa::PanelLoad(bias);
  for (int t = 0; t < kTokens; ++t) {
    const auto& l = lanes[t];
    const Floats even = Isa::PanelAdd(Isa::PanelAdd(l[0], l[4]), Isa::PanelAdd(l[2], l[6]));
    const Floats odd = Isa::PanelAdd(Isa::PanelAdd(l[1], l[5]), Isa::PanelAdd(l[3], l[7]));
    Isa::PanelStore(out[t], Isa::PanelAdd(Isa::PanelAdd(even, odd), bias_lanes));
  }
}

template <class Isa, class Format, int kTokens>
void PanelTile(const uint8_t* panel, const PackedArgs& a, size_t row, size_t token) {
  size_t first_block[kTokens];
  float* out[kTokens];
  for (int t = 0; t < kTokens; ++t) {
    first_block[t] = TokenRow(a.index, token + t) * a.x.padded_blocks;
    out[t] = a.out + (token + t) * a.out_stride + row;
  }
  const float* bias = a.bias == nullptr ? nullptr : a.bias + row;
  PanelTimesTokens<Isa, Format, kTokens>(panel, a.blocks, a.x, first_block, bias, out);
}

template <class Isa, class Format>
void PackedProduct(const PackedArgs& a) {
  const size_t panel_bytes = PanelBytes<Isa, Format>(a.blocks);
  const uint8_t* panel = a.panels;
  for (size_t row = 0; row < a.rows; row += Isa::kPanelRows, panel += panel_bytes) {
    size_t token = 0;
    if constexpr (Isa::kPanelTokens >= 8) {
      for (; token + 8 <= a.tokens; token += 8) PanelTile<Isa, Format, 8>(panel, a, row, token);
    }
    for (; token + 4 <= a.tokens; token += 4) PanelTile<Isa, Format, 4>(panel, a, row, token);
    for (; token + 2 <= a.tokens; token += 2) PanelTile<Isa, Format, 2>(panel, a, row, token);
    for (; token < a.tokens; ++token) PanelTile<Isa, Format, 1>(panel, a, row, token);
  }
}

// Rows as the file has them. Many tokens pay for packing a panel on the way; it stays in the cache meanwhile.
constexpr size_t kPackTokensMin = 4;

template <class Isa, class Format>
void Int8Product(const Int8Args& a) {
  size_t row = 0;
  if constexpr (Isa::kPanelRows > 0) {
    for (; a.tokens >= kPackTokensMin && row + Isa::kPanelRows <= a.rows; row += Isa::kPanelRows) {
      PackPanel<Isa, Format>(a.weights + row * a.row_bytes, a.row_bytes, a.blocks, a.scratch);
      PackedProduct<Isa, Format>({.panels = a.scratch,
                                  .rows = Isa::kPanelRows,
                                  .blocks = a.blocks,
                                  .x = a.x,
                                  .index = a.index,
                                  .tokens = a.tokens,
                                  .out = a.out + row,
                                  .out_stride = a.out_stride,
                                  .bias = a.bias == nullptr ? nullptr : a.bias + row});
    }
  }
  RowsProduct<Isa, Format>(a, row);
}

}  // namespace
}  // namespace barn
