#pragma once

#include "kernels/cpu/int8_driver.h"

// The product for many tokens: Isa::kPanelRows rows of weights are unpacked once into a panel that stays in the cache,
// lying so that one register holds four columns of every row. Then a lane belongs to a row, and neither the sums over
// columns nor the scales need work across lanes. The order of float operations is that of int8_driver.h.

namespace barn {
namespace {

constexpr size_t kPanelTokensMin = 4;  // From here on the unpacking into a panel has paid for itself.

// Unpacked rows; R = Isa::kPanelRows.
template <class Isa>
struct Panel {
  Panel(uint8_t* scratch, size_t blocks) {
    const size_t padded = (blocks + 7) / 8 * 8;
    codes = scratch;
    scales = reinterpret_cast<float*>(codes + padded * Isa::kPanelRows * 32);
    mins = scales + padded * Isa::kPanelRows;
    scales16 = reinterpret_cast<int32_t*>(mins + padded * Isa::kPanelRows);
    mins16 = scales16 + padded * Isa::kPanelRows;
  }
  uint8_t* codes;     // [blocks, 8, R, 4]
  float* scales;      // [blocks, R]
  float* mins;        // [blocks, R]
  int32_t* scales16;  // [blocks, R] pairs of int16
  int32_t* mins16;    // [blocks, R] pairs of int16
};

template <class Isa, class Format>
void UnpackPanel(const uint8_t* weights, size_t row_bytes, size_t blocks, const Panel<Isa>& panel) {
  constexpr size_t kRows = Isa::kPanelRows;
  for (size_t first_row = 0; first_row < kRows; first_row += 8) {
    for (size_t block = 0; block < blocks; block += 8) {
      const uint8_t* chunks = weights + first_row * row_bytes + block / 8 * Format::kChunkBytes;
      const int count = static_cast<int>(blocks - block < 8 ? blocks - block : 8);
      Chunk<Isa, Format> row[8];
      for (int r = 0; r < 8; ++r) row[r].LoadScales(chunks + r * row_bytes, count);
      const size_t at = block * kRows + first_row;
      Isa::Transpose([&](int r) { return Isa::AsInts(row[r].scale); }, panel.scales + at, kRows);
      if constexpr (Format::kHasMin) {
        Isa::Transpose([&](int r) { return Isa::AsInts(row[r].min); }, panel.mins + at, kRows);
      }
      if constexpr (Format::kKind == Kind::kScaled16) {
        Isa::Transpose([&](int r) { return row[r].scales16; }, panel.scales16 + at, kRows);
        Isa::Transpose([&](int r) { return row[r].mins16; }, panel.mins16 + at, kRows);
      }
      for (int b = 0; b < count; ++b) {
        Isa::Transpose([&](int r) { return Format::template Codes<Isa>(chunks + r * row_bytes, b); },
                       panel.codes + ((block + b) * 8 * kRows + first_row) * 4, kRows);
      }
    }
  }
}

// One panel against kTokens tokens; out[t]: where the panel's first row of token t goes.
template <class Isa, class Format, int kTokens>
void PanelTimesTokens(const Panel<Isa>& panel, size_t blocks, const QuantizedView& x,
                      const size_t (&first_block)[kTokens], const float* bias, float* const (&out)[kTokens]) {
  constexpr size_t kRows = Isa::kPanelRows;
  using Floats = typename Isa::PanelFloats;
  Floats lanes[kTokens][8];
  for (auto& token_lanes : lanes) {
    for (Floats& lane : token_lanes) lane = Isa::PanelSet(0.0f);
  }
  for (size_t b = 0; b < blocks; ++b) {
    const int8_t* codes[kTokens];
    for (int t = 0; t < kTokens; ++t) codes[t] = x.codes + 32 * (first_block[t] + b);
    const Floats scale = Isa::PanelLoad(panel.scales + b * kRows);
    typename Isa::PanelInts dots[kTokens];
    if constexpr (Format::kKind == Kind::kAffine) {
      Isa::template PanelDots<Format::kMaxCode>(panel.codes + b * kRows * 32, codes, dots);
    } else if constexpr (Format::kKind == Kind::kSigned) {
      Isa::PanelSignedDots(panel.codes + b * kRows * 32, codes, dots);
    } else {
      Isa::template PanelScaledDots<Format::kMaxCode>(panel.codes + b * kRows * 32, panel.scales16 + b * kRows, codes,
                                                      dots);
    }
    for (int t = 0; t < kTokens; ++t) {
      const size_t block = first_block[t] + b;
      Floats& lane = lanes[t][b % 8];
      const Floats x_scale = Isa::PanelSet(x.scales[block]);
      const int16_t* sums16 = x.sums16 + 2 * block;
      if constexpr (Format::kKind == Kind::kSigned) dots[t] = Isa::PanelUnshift(dots[t], sums16);
      if constexpr (Format::kKind == Kind::kScaled16 && !Format::kHasMin) {
        dots[t] = Isa::PanelSubtract(dots[t], Isa::PanelPairSums(panel.mins16 + b * kRows, sums16));
      }
      lane = Isa::PanelMulAdd(Isa::PanelToFloats(dots[t]), Isa::PanelMul(scale, x_scale), lane);
      if constexpr (Format::kHasMin) {
        const Floats min = Isa::PanelLoad(panel.mins + b * kRows);
        if constexpr (Format::kKind == Kind::kAffine) {
          lane = Isa::PanelMulAdd(min, Isa::PanelSet(x.sums[block]), lane);
        } else {
          const Floats sums = Isa::PanelToFloats(Isa::PanelPairSums(panel.mins16 + b * kRows, sums16));
          lane = Isa::PanelMulAdd(sums, Isa::PanelMul(min, x_scale), lane);
        }
      }
    }
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
void PanelTile(const Panel<Isa>& panel, const Int8Args& a, size_t row, size_t token) {
  size_t first_block[kTokens];
  float* out[kTokens];
  for (int t = 0; t < kTokens; ++t) {
    first_block[t] = TokenRow(a.index, token + t) * a.x.padded_blocks;
    out[t] = a.out + (token + t) * a.out_stride + row;
  }
  const float* bias = a.bias == nullptr ? nullptr : a.bias + row;
  PanelTimesTokens<Isa, Format, kTokens>(panel, a.blocks, a.x, first_block, bias, out);
}

// Does all whole panels; gives the first row that is left.
template <class Isa, class Format>
size_t PanelProduct(const Int8Args& a) {
  const Panel<Isa> panel(a.scratch, a.blocks);
  size_t row = 0;
  for (; row + Isa::kPanelRows <= a.rows; row += Isa::kPanelRows) {
    UnpackPanel<Isa, Format>(a.weights + row * a.row_bytes, a.row_bytes, a.blocks, panel);
    size_t token = 0;
    for (; token + 4 <= a.tokens; token += 4) PanelTile<Isa, Format, 4>(panel, a, row, token);
    for (; token < a.tokens; ++token) PanelTile<Isa, Format, 1>(panel, a, row, token);
  }
  return row;
}

template <class Isa, class Format>
void Int8Product(const Int8Args& a) {
  size_t row = 0;
  if constexpr (Isa::kPanelRows > 0) {
    if (a.tokens >= kPanelTokensMin) row = PanelProduct<Isa, Format>(a);
  }
  RowsProduct<Isa, Format>(a, row);
}

}  // namespace
}  // namespace barn
