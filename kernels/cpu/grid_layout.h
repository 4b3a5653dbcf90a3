#pragma once

#include "kernels/cpu/int8_grid_formats.h"
#include "kernels/cpu/packed_layout.h"

// Panels (packed_layout.h) of a grid format as indices of its points. A chunk of R rows is
//   f16 d [R], then signs [8, 4 R bytes]: bit j of byte 4 r + k is the sign of column 4 j + k of row r, set: negative
//   low bytes of the indices [8, points, R], their other bits [8 or 4, R] as PointFields says, scales n [8 or 4, R]
// where a scale is 2 n + 1: a nibble per block or half of one, the even one in the lower bits. IQ1 has no signs, and
// IQ1_S has its scales in bits 12 to 14 of the words of higher bits. That is what rows take in the file, plus up to 6 %
// where seven sign bits become eight.

namespace barn {
namespace {

template <class Format>
struct Points : Format {};

template <class Isa, class Format>
struct ChunkLayout<Isa, Points<Format>> {
  static constexpr size_t kRows = Isa::kPanelRows;
  static constexpr bool kScalesInHigh = Format::kKind == Kind::kSigned && !Format::kHasSigns;

  constexpr explicit ChunkLayout(size_t /*blocks*/) {}  // Always 8: a block in the file is a chunk.

  static constexpr size_t kLowBytes = kRows * Format::kPoints;         // Of a block.
  static constexpr size_t kHighBytes = kRows * Format::kHighBits / 4;  // Of two.
  static constexpr size_t signs = kRows * sizeof(uint16_t);
  static constexpr size_t low = signs + (Format::kHasSigns ? 8 * 4 * kRows : 0);
  static constexpr size_t high = low + 8 * kLowBytes;
  static constexpr size_t scales = high + 4 * kHighBytes;
  static constexpr size_t bytes = scales + (kScalesInHigh ? 0 : kRows * (Format::kKind == Kind::kScaled16 ? 8 : 4));
};

// Every fourth bit from bit 0 on, side by side.
inline uint8_t EveryFourthBit(uint32_t bits) {
  bits &= 0x11111111;
  bits = (bits | bits >> 3) & 0x03030303;
  bits = (bits | bits >> 6) & 0x000f000f;
  return static_cast<uint8_t>(bits | bits >> 12);
}

// Row `row` of a chunk.
template <class Isa, class Format>
void PackPoints(const uint8_t* weights, size_t row, uint8_t* chunk) {
  using Layout = ChunkLayout<Isa, Points<Format>>;
  constexpr size_t kRows = Isa::kPanelRows;
  ScaleFields fields;
  Format::Fields(weights, 8, fields);
  memcpy(chunk + sizeof(uint16_t) * row, fields.d, sizeof(uint16_t));
  for (int b = 0; b < 8; ++b) {
    const BlockOfPoints block = Format::Block(weights, b);
    if constexpr (Format::kHasSigns) {
      uint8_t* signs = chunk + Layout::signs + 4 * (kRows * b + row);
      for (int k = 0; k < 4; ++k) signs[k] = EveryFourthBit(block.signs >> k);
    }
    uint8_t* low = chunk + Layout::low + Layout::kLowBytes * b + row;
    for (int i = 0; i < Format::kPoints; ++i) low[kRows * i] = block.low[i];
    uint8_t* high = chunk + Layout::high + Layout::kHighBytes * (b / 2);
    if constexpr (Format::kHighBits == 4) {
      high[row] = static_cast<uint8_t>(b % 2 == 0 ? block.high : high[row] | block.high << 4);
    } else if constexpr (Format::kHighBits == 8) {
      high[kRows * (b % 2) + row] = static_cast<uint8_t>(block.high);
    } else if constexpr (Format::kHighBits == 16) {
      memcpy(high + sizeof(uint16_t) * (kRows * (b % 2) + row), &block.high, sizeof(uint16_t));
    }
    uint8_t* scales = chunk + Layout::scales + row;
    if constexpr (Format::kKind == Kind::kScaled16) {
      scales[kRows * b] = static_cast<uint8_t>(fields.s[2 * b] >> 1 | fields.s[2 * b + 1] >> 1 << 4);
    } else if constexpr (!Layout::kScalesInHigh) {
      uint8_t& pair = scales[kRows * (b / 2)];
      pair = static_cast<uint8_t>(b % 2 == 0 ? fields.s[b] >> 1 : pair | fields.s[b] >> 1 << 4);
    }
  }
}

// Isa::kPanelRows rows of weights, row_bytes apart, become a panel.
template <class Isa, class Format>
void PackPointPanel(const uint8_t* weights, size_t row_bytes, size_t blocks, uint8_t* panel) {
  for (size_t block = 0; block < blocks; block += 8, weights += Format::kChunkBytes) {
    for (size_t row = 0; row < Isa::kPanelRows; ++row) {
      PackPoints<Isa, Format>(weights + row * row_bytes, row, panel);
    }
    panel += ChunkLayout<Isa, Points<Format>>::bytes;
  }
}

}  // namespace
}  // namespace barn
