#pragma once

#include "kernels/cpu/int8_formats.h"
#include "kernels/cpu/unroll.h"

// Weights repacked so that one register holds the same columns of Isa::kPanelRows rows: a panel. A lane then belongs to
// a row, and neither the sums over columns nor the scales need work across lanes. A panel is its chunks of 8 blocks
// (the last may have fewer), one behind the other; a chunk of n blocks and R rows is
//   f16 d [n or 1, R], f16 dmin or m [the same, R], bytes S [n, 1 or 2, R] or [n, R, 2], bytes M [n, R, 1 or 2]
//   from the next multiple of a register: codes [n, kBits, R, 4]
// where kBits registers hold the 8 groups of four columns of a block as planes (see Planes), and the scales are those
// that ScaleStore names. A panel takes what its rows took in the file, plus up to 6 % where six-bit scales become
// bytes, and 11 % for Q2_0 and NVFP4.

namespace barn {
namespace {

// How 8 registers of codes share kBits registers. Code register j (columns 4 j .. 4 j + 3) is in
//   a nibble plane: register j % 4, bits 4 (j / 4) and up;
//   a pair plane: register j % 2, bits 2 (j / 2) and up;
//   a bit plane: bit j.
// Widths of 3, 5 and 6 are a pair or nibble plane followed by one with the higher bits.
template <int kBits>
struct Planes {
  static constexpr int kLowBits = kBits == 8 ? 8 : kBits >= 4 ? 4 : 2;
  static constexpr int kHighBits = kBits - kLowBits;
  static_assert(kHighBits == 0 || kHighBits == 1 || kHighBits == 2);

  // codes: [8, n] bytes; out: [kBits, n].
  static void Store(const uint8_t* codes, size_t n, uint8_t* out) {
    StorePlane<kLowBits>(codes, 0, n, out);
    if constexpr (kHighBits > 0) StorePlane<kHighBits>(codes, kLowBits, n, out + kLowBits * n);
  }

 private:
  // Bits [from, from + kWidth) of every code.
  template <int kWidth>
  static void StorePlane(const uint8_t* codes, int from, size_t n, uint8_t* out) {
    constexpr uint8_t kMask = (1 << kWidth) - 1;
    for (size_t r = 0; r < kWidth; ++r, out += n) {
      for (size_t i = 0; i < n; ++i) {
        uint8_t byte = 0;
        for (size_t k = 0; k < 8 / kWidth; ++k) {
          byte |= static_cast<uint8_t>((codes[(r + k * kWidth) * n + i] >> from & kMask) << (k * kWidth));
        }
        out[i] = byte;
      }
    }
  }
};

constexpr bool IsPerChunk(ScaleStore store) {
  return store != ScaleStore::kHalf && store != ScaleStore::kHalfPair && store != ScaleStore::kExponent;
}

// Where the parts of a chunk begin.
template <class Isa, class Format>
struct ChunkLayout {
  static constexpr size_t kRows = Isa::kPanelRows;
  static constexpr ScaleStore kStore = Format::kScaleStore;
  static constexpr bool kHasD = kStore != ScaleStore::kExponent;
  static constexpr bool kHasDmin = kStore == ScaleStore::kHalfPair || kStore == ScaleStore::kBytePair ||
                                   kStore == ScaleStore::kNibblePairs || kStore == ScaleStore::kFoldedMin;
  static constexpr bool kPairs = kStore == ScaleStore::kPairs || kStore == ScaleStore::kNibblePairs;
  static constexpr bool kFolded = kStore == ScaleStore::kFolded || kStore == ScaleStore::kFoldedMin;
  // Bytes of a block and row.
  static constexpr size_t kS =
      kStore == ScaleStore::kSixteen || kPairs ? 2
      : kStore == ScaleStore::kHalf || kStore == ScaleStore::kHalfPair || kStore == ScaleStore::kPerChunk || kFolded
          ? 0
          : 1;
  static constexpr size_t kM = kStore == ScaleStore::kFoldedMin ? 2 : kStore == ScaleStore::kBytePair ? 1 : 0;
  static constexpr size_t kRegisterBytes = 4 * kRows;
  static constexpr size_t kCodeBytes = kRegisterBytes * Format::kBits;  // Of a block.

  constexpr explicit ChunkLayout(size_t blocks)
      : dmin(kHasD ? kRows * sizeof(uint16_t) * (IsPerChunk(kStore) ? 1 : blocks) : 0),
        s(kHasDmin ? 2 * dmin : dmin),
        m(s + kS * kRows * blocks),
        codes((m + kM * kRows * blocks + kRegisterBytes - 1) / kRegisterBytes * kRegisterBytes),
        bytes(codes + kCodeBytes * blocks) {}

  size_t dmin, s, m, codes, bytes;  // d begins at 0.
};

template <class Isa, class Format>
constexpr size_t PanelBytes(size_t blocks) {
  const size_t rest = blocks % 8;
  return blocks / 8 * ChunkLayout<Isa, Format>(8).bytes + (rest == 0 ? 0 : ChunkLayout<Isa, Format>(rest).bytes);
}

// The scales of row `row` of a chunk of `count` blocks.
template <class Isa, class Format>
void PackScales(const uint8_t* chunk, int count, size_t row, const ChunkLayout<Isa, Format>& layout, uint8_t* out) {
  using Layout = ChunkLayout<Isa, Format>;
  constexpr size_t kRows = Isa::kPanelRows;
  ScaleFields fields;
  Format::Fields(chunk, count, fields);
  for (int i = 0; i < (IsPerChunk(Layout::kStore) ? 1 : count); ++i) {
    const size_t at = sizeof(uint16_t) * (i * kRows + row);
    if constexpr (Layout::kHasD) memcpy(out + at, &fields.d[i], sizeof(uint16_t));
    if constexpr (Layout::kHasDmin) memcpy(out + layout.dmin + at, &fields.dmin[i], sizeof(uint16_t));
  }
  for (size_t i = 0; i < Layout::kS * count; ++i) {
    const size_t at = Layout::kPairs ? (i / 2 * kRows + row) * 2 + i % 2 : i * kRows + row;
    out[layout.s + at] = fields.s[i];
    if constexpr (Layout::kStore == ScaleStore::kNibblePairs) out[layout.s + at] |= fields.m[i] << 4;
  }
  for (size_t i = 0; i < Layout::kM * count; ++i) {
    out[layout.m + (i / Layout::kM * kRows + row) * Layout::kM + i % Layout::kM] = fields.m[i];
  }
}

// What lies in the planes: codes, or indices of a table.
template <class Isa, class Format>
inline typename Isa::Bytes StoredCodes(const uint8_t* chunk, int b) {
  if constexpr (Format::kHasTable) {
    return Format::template Indices<Isa>(chunk, b);
  } else if constexpr (Format::kIsGrid && Format::kKind == Kind::kSigned) {
    return Isa::AddBytes(Format::template Codes<Isa>(chunk, b), Isa::SetBytes(Format::kMagnitude));
  } else if constexpr (Format::kKind == Kind::kSigned) {
    return Isa::FlipSigns(Format::template Codes<Isa>(chunk, b));
  } else {
    return Format::template Codes<Isa>(chunk, b);
  }
}

// Isa::kPanelRows rows of weights, row_bytes apart, become a panel.
template <class Isa, class Format>
void PackPanel(const uint8_t* weights, size_t row_bytes, size_t blocks, uint8_t* panel) {
  constexpr size_t kRows = Isa::kPanelRows;
  alignas(64) uint8_t codes[8 * kRows * 4];
  for (size_t block = 0; block < blocks; block += 8, weights += Format::kChunkBytes) {
    const int count = static_cast<int>(blocks - block < 8 ? blocks - block : 8);
    const ChunkLayout<Isa, Format> layout(count);
    for (size_t row = 0; row < kRows; ++row) {
      PackScales<Isa, Format>(weights + row * row_bytes, count, row, layout, panel);
    }
    for (int b = 0; b < count; ++b) {
      for (size_t row = 0; row < kRows; row += 8) {
        Isa::Transpose([&](int r) { return StoredCodes<Isa, Format>(weights + (row + r) * row_bytes, b); },
                       codes + 4 * row, kRows);
      }
      Planes<Format::kBits>::Store(codes, 4 * kRows, panel + layout.codes + b * layout.kCodeBytes);
    }
    panel += layout.bytes;
  }
}

}  // namespace
}  // namespace barn
