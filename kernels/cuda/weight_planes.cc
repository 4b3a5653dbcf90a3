#include "kernels/cuda/weight_planes.h"

#include <cstring>

#include "kernels/check.h"
#include "kernels/formats/blocks.h"
#include "kernels/formats/codebooks.h"
#include "kernels/formats/decode_block.h"

namespace barn::gpu {
namespace {

constexpr PlaneLayout kLayouts[] = {
    {DType::kF32, 1, {4}, {1}},
    {DType::kF16, 1, {2}, {1}},
    {DType::kBF16, 1, {2}, {1}},
    // Nibbles; d or d and m.
    {DType::kQ4_0, 2, {16, 2}, {32, 32}},
    {DType::kQ4_1, 2, {16, 4}, {32, 32}},
    // Nibbles; fifth bits; d or d and m.
    {DType::kQ5_0, 3, {16, 4, 2}, {32, 32, 32}},
    {DType::kQ5_1, 3, {16, 4, 4}, {32, 32, 32}},
    // Codes; d.
    {DType::kQ8_0, 2, {32, 2}, {32, 32}},
    // Pairs of bits; scale and min of each 16 columns; d and dmin.
    {DType::kQ2_K, 3, {8, 2, 4}, {32, 32, 256}},
    // Pairs of bits; third bits; scales; d.
    {DType::kQ3_K, 4, {8, 4, 12, 2}, {32, 32, 256, 256}},
    // Nibbles; d, dmin, scales and mins.
    {DType::kQ4_K, 2, {16, 16}, {32, 256}},
    // Nibbles; fifth bits; d, dmin, scales and mins.
    {DType::kQ5_K, 3, {16, 4, 16}, {32, 32, 256}},
    // Nibbles; upper pairs of bits; scales; d.
    {DType::kQ6_K, 4, {16, 8, 2, 2}, {32, 32, 32, 256}},
    // Nibbles in sequence; d, or the exponent, or d and scales.
    {DType::kIQ4_NL, 2, {16, 2}, {32, 32}},
    {DType::kMXFP4, 2, {16, 1}, {32, 32}},
    {DType::kIQ4_XS, 2, {16, 8}, {32, 256}},
    // Indices (with signs and scales as the file has them); what else; d.
    {DType::kIQ2_XXS, 2, {8, 2}, {32, 256}},
    {DType::kIQ2_XS, 3, {8, 1, 2}, {32, 32, 256}},
    {DType::kIQ2_S, 3, {8, 2, 2}, {32, 32, 256}},
    {DType::kIQ3_XXS, 3, {8, 4, 2}, {32, 32, 256}},
    {DType::kIQ3_S, 4, {8, 4, 1, 6}, {32, 32, 32, 256}},
    {DType::kIQ1_S, 3, {4, 2, 2}, {32, 32, 256}},
    {DType::kIQ1_M, 3, {4, 2, 8}, {32, 32, 256}},
};

// How the codes of a unit are packed; code(e) is that of column e in [0, 32).

// Byte k: columns k and k + 16, low and high nibble. As the small formats have it.
template <class Code>
void PackNibbles(Code code, uint8_t* out) {
  for (int k = 0; k < 16; ++k) out[k] = static_cast<uint8_t>((code(k) & 15) | (code(k + 16) & 15) << 4);
}

// Word j: columns 4j .. 4j + 3 in the low half, 16 more in the high half, so that its nibbles in sequence choose bytes.
template <class Code>
void PackSequence(Code code, uint8_t* out) {
  for (int j = 0; j < 4; ++j) {
    for (int half = 0; half < 2; ++half) {
      for (int n = 0; n < 2; ++n) {
        const int e = 16 * half + 4 * j + 2 * n;
        out[4 * j + 2 * half + n] = static_cast<uint8_t>(code(e) | code(e + 1) << 4);
      }
    }
  }
}

// Word e / 16: byte e % 4, bits 2 (e / 4 % 4) and the next.
template <class Code>
void PackPairs(Code code, uint8_t* out) {
  std::memset(out, 0, 8);
  for (int e = 0; e < 32; ++e) {
    out[4 * (e / 16) + e % 4] = static_cast<uint8_t>(out[4 * (e / 16) + e % 4] | (code(e) & 3) << (2 * (e / 4 % 4)));
  }
}

// Byte e % 4, bit e / 4.
template <class Bit>
void PackBits(Bit bit, uint8_t* out) {
  std::memset(out, 0, 4);
  for (int e = 0; e < 32; ++e) out[e % 4] = static_cast<uint8_t>(out[e % 4] | (bit(e) & 1) << (e / 4));
}

int FifthBit(uint32_t qh, int e) { return static_cast<int>(qh >> e & 1); }
int FileNibble(const uint8_t* qs, int e) { return e < 16 ? qs[e] & 15 : qs[e - 16] >> 4; }

// Each Split writes one block of the file; out[i] is where its part of plane i begins.
using Out = uint8_t* const (&)[kMaxPlanes];

void Split(const BlockQ4_0& b, Out out) {
  std::memcpy(out[0], b.qs, 16);
  std::memcpy(out[1], &b.d, 2);
}
void Split(const BlockQ4_1& b, Out out) {
  std::memcpy(out[0], b.qs, 16);
  std::memcpy(out[1], &b, 4);
}
void Split(const BlockQ5_0& b, Out out) {
  std::memcpy(out[0], b.qs, 16);
  PackBits([&](int e) { return FifthBit(b.qh, e); }, out[1]);
  std::memcpy(out[2], &b.d, 2);
}
void Split(const BlockQ5_1& b, Out out) {
  std::memcpy(out[0], b.qs, 16);
  PackBits([&](int e) { return FifthBit(b.qh, e); }, out[1]);
  std::memcpy(out[2], &b, 4);
}
void Split(const BlockQ8_0& b, Out out) {
  std::memcpy(out[0], b.qs, 32);
  std::memcpy(out[1], &b.d, 2);
}
void Split(const BlockIQ4_NL& b, Out out) {
  PackSequence([&](int e) { return FileNibble(b.qs, e); }, out[0]);
  std::memcpy(out[1], &b.d, 2);
}
void Split(const BlockMXFP4& b, Out out) {
  PackSequence([&](int e) { return FileNibble(b.qs, e); }, out[0]);
  out[1][0] = b.e;
}

void Split(const BlockQ2_K& b, Out out) {
  for (int s = 0; s < 8; ++s) {
    PackPairs([&](int e) { return b.qs[32 * (s / 4) + e] >> (2 * (s % 4)); }, out[0] + 8 * s);
  }
  std::memcpy(out[1], b.scales, 16);
  std::memcpy(out[2], &b.d, 4);
}

// Scales: byte s the low nibbles of both sixteens of unit s, nibble s behind them the upper bits of both.
void Split(const BlockQ3_K& b, Out out) {
  std::memset(out[2], 0, 12);
  for (int s = 0; s < 8; ++s) {
    PackPairs([&](int e) { return b.qs[32 * (s / 4) + e] >> (2 * (s % 4)); }, out[0] + 8 * s);
    PackBits([&](int e) { return b.hmask[e] >> s; }, out[1] + 4 * s);
    const int first = UnpackScaleQ3(b.scales, 2 * s) + 32;
    const int second = UnpackScaleQ3(b.scales, 2 * s + 1) + 32;
    out[2][s] = static_cast<uint8_t>((first & 15) | (second & 15) << 4);
    uint8_t& upper = out[2][8 + s / 2];
    upper = static_cast<uint8_t>(upper | ((first >> 4) | (second >> 4) << 2) << (4 * (s % 2)));
  }
  std::memcpy(out[3], &b.d, 2);
}

// d and dmin, then three words whose nibble s is of unit s: low nibbles of scales, of mins, upper bits of both.
template <class Block>
void SplitSixBits(const Block& b, uint8_t* out) {
  uint32_t words[3] = {};
  for (int s = 0; s < 8; ++s) {
    const ScaleMin packed = UnpackScaleMin(b.scales, s);
    words[0] |= (packed.scale & 15u) << (4 * s);
    words[1] |= (packed.min & 15u) << (4 * s);
    words[2] |= (packed.scale >> 4 | (packed.min >> 4) << 2) << (4 * s);
  }
  std::memcpy(out, &b.d, 4);
  std::memcpy(out + 4, words, 12);
}

void Split(const BlockQ4_K& b, Out out) {
  for (int s = 0; s < 8; ++s) {
    PackNibbles([&](int e) { return b.qs[32 * (s / 2) + e] >> (4 * (s % 2)); }, out[0] + 16 * s);
  }
  SplitSixBits(b, out[1]);
}

void Split(const BlockQ5_K& b, Out out) {
  for (int s = 0; s < 8; ++s) {
    PackNibbles([&](int e) { return b.qs[32 * (s / 2) + e] >> (4 * (s % 2)); }, out[0] + 16 * s);
    PackBits([&](int e) { return b.qh[e] >> s; }, out[1] + 4 * s);
  }
  SplitSixBits(b, out[2]);
}

void Split(const BlockQ6_K& b, Out out) {
  for (int s = 0; s < 8; ++s) {
    const int h = s / 4;
    const int j = s % 4;
    PackNibbles([&](int e) { return b.ql[64 * h + 32 * (j % 2) + e] >> (4 * (j / 2)); }, out[0] + 16 * s);
    PackPairs([&](int e) { return b.qh[32 * h + e] >> (2 * j); }, out[1] + 8 * s);
  }
  std::memcpy(out[2], b.scales, 16);
  std::memcpy(out[3], &b.d, 2);
}

void Split(const BlockIQ4_XS& b, Out out) {
  for (int s = 0; s < 8; ++s) {
    PackSequence([&](int e) { return FileNibble(b.qs + 16 * s, e); }, out[0] + 16 * s);
  }
  std::memcpy(out[1], &b.d, 8);
}

void Split(const BlockIQ2_XXS& b, Out out) {
  std::memcpy(out[0], b.groups, 64);
  std::memcpy(out[1], &b.d, 2);
}
void Split(const BlockIQ2_XS& b, Out out) {
  std::memcpy(out[0], b.qs, 64);
  std::memcpy(out[1], b.scales, 8);
  std::memcpy(out[2], &b.d, 2);
}
// Unit s: four indices, four bytes of signs; upper index bits, scales.
void Split(const BlockIQ2_S& b, Out out) {
  for (int s = 0; s < 8; ++s) {
    std::memcpy(out[0] + 8 * s, b.qs + 4 * s, 4);
    std::memcpy(out[0] + 8 * s + 4, b.signs + 4 * s, 4);
    out[1][2 * s] = b.qh[s];
    out[1][2 * s + 1] = b.scales[s];
  }
  std::memcpy(out[2], &b.d, 2);
}
void Split(const BlockIQ3_XXS& b, Out out) {
  std::memcpy(out[0], b.qs, 64);
  std::memcpy(out[1], b.signs_and_scale, 32);
  std::memcpy(out[2], &b.d, 2);
}
void Split(const BlockIQ3_S& b, Out out) {
  std::memcpy(out[0], b.qs, 64);
  std::memcpy(out[1], b.signs, 32);
  std::memcpy(out[2], b.qh, 8);
  std::memcpy(out[3], &b.d, 2);
  std::memcpy(out[3] + 2, b.scales, 4);
}
void Split(const BlockIQ1_S& b, Out out) {
  std::memcpy(out[0], b.qs, 32);
  std::memcpy(out[1], b.qh, 16);
  std::memcpy(out[2], &b.d, 2);
}
void Split(const BlockIQ1_M& b, Out out) {
  std::memcpy(out[0], b.qs, 32);
  std::memcpy(out[1], b.qh, 16);
  std::memcpy(out[2], b.scales, 8);
}

template <class Block>
void SplitBlocks(const PlaneLayout& layout, const std::byte* row, int64_t cols,
                 std::byte* const (&planes)[kMaxPlanes]) {
  const int64_t block_columns = Info(layout.dtype).block_elements;
  for (int64_t at = 0; at < cols; at += block_columns, row += sizeof(Block)) {
    uint8_t* out[kMaxPlanes] = {};
    for (int i = 0; i < layout.count; ++i) {
      out[i] = reinterpret_cast<uint8_t*>(planes[i]) + at / layout.columns[i] * layout.bytes[i];
    }
    Block block;  // A row of a file may begin anywhere.
    std::memcpy(&block, row, sizeof(block));
    Split(block, out);
  }
}

}  // namespace

const PlaneLayout* FindPlaneLayout(DType dtype) {
  for (const PlaneLayout& layout : kLayouts) {
    if (layout.dtype == dtype) return &layout;
  }
  return nullptr;
}

int64_t PlaneRowBytes(const PlaneLayout& layout, int plane, int64_t cols) {
  return cols / layout.columns[plane] * layout.bytes[plane];
}

PlaneOffsets PlacePlanes(const PlaneLayout& layout, int64_t rows, int64_t cols) {
  PlaneOffsets placed;
  for (int i = 0; i < layout.count; ++i) {
    placed.offset[i] = placed.bytes;
    placed.bytes += (rows * PlaneRowBytes(layout, i, cols) + 255) / 256 * 256;
  }
  return placed;
}

void SplitRow(DType dtype, const std::byte* row, int64_t cols, std::byte* const (&planes)[kMaxPlanes]) {
  const PlaneLayout* layout = FindPlaneLayout(dtype);
  BARN_CHECK(layout != nullptr && cols % Info(dtype).block_elements == 0);
  switch (dtype) {
#define BARN_SPLIT(name) \
  case DType::k##name:   \
    return SplitBlocks<Block##name>(*layout, row, cols, planes);
    BARN_SPLIT(Q4_0)
    BARN_SPLIT(Q4_1)
    BARN_SPLIT(Q5_0)
    BARN_SPLIT(Q5_1)
    BARN_SPLIT(Q8_0)
    BARN_SPLIT(Q2_K)
    BARN_SPLIT(Q3_K)
    BARN_SPLIT(Q4_K)
    BARN_SPLIT(Q5_K)
    BARN_SPLIT(Q6_K)
    BARN_SPLIT(IQ4_NL)
    BARN_SPLIT(IQ4_XS)
    BARN_SPLIT(MXFP4)
    BARN_SPLIT(IQ2_XXS)
    BARN_SPLIT(IQ2_XS)
    BARN_SPLIT(IQ2_S)
    BARN_SPLIT(IQ3_XXS)
    BARN_SPLIT(IQ3_S)
    BARN_SPLIT(IQ1_S)
    BARN_SPLIT(IQ1_M)
#undef BARN_SPLIT
    default:
      std::memcpy(planes[0], row, static_cast<size_t>(RowBytes(dtype, cols)));
  }
}

GridTable FindGridTable(DType dtype) {
  switch (dtype) {
    case DType::kIQ2_XXS:
      return {kIq2XxsGrid.points, sizeof(kIq2XxsGrid)};
    case DType::kIQ2_XS:
      return {kIq2XsGrid.points, sizeof(kIq2XsGrid)};
    case DType::kIQ2_S:
      return {kIq2SGrid.points, sizeof(kIq2SGrid)};
    case DType::kIQ3_XXS:
      return {kIq3XxsGrid.points, sizeof(kIq3XxsGrid)};
    case DType::kIQ3_S:
      return {kIq3SGrid.points, sizeof(kIq3SGrid)};
    case DType::kIQ1_S:
    case DType::kIQ1_M:
      return {kIq1Grid.points, sizeof(kIq1Grid)};
    default:
      return {};
  }
}

}  // namespace barn::gpu
