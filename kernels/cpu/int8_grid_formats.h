#pragma once

#include "kernels/cpu/int8_formats.h"
#include "kernels/formats/codebooks.h"

// The traits of formats whose codes are points of a grid: an index stands for 4 or 8 columns, and signs or a shift come
// on top. As rows they become bytes by one load per point. Panels keep the indices (grid_layout.h), since bytes would
// take three to five times what the file has; many tokens meet bytes that are made on the way.

namespace barn {
namespace {

// kMagnitudeOf: no code has a larger one. kSteps: of the codes that make one unit of the grid.
template <size_t kBytes, int kMagnitudeOf, Kind kKindOf, int kSteps>
struct GridBlocks : BigBlocks<kBytes, 8, kKindOf == Kind::kSigned ? kMagnitudeOf : 2 * kMagnitudeOf, false, kKindOf,
                              kKindOf == Kind::kSigned ? ScaleStore::kSignedByte : ScaleStore::kSixteen,
                              kKindOf == Kind::kSigned ? 0 : kMagnitudeOf> {
  static constexpr bool kIsGrid = true;
  static constexpr int kMagnitude = kMagnitudeOf;  // Panels hold codes that much too large, so that none is negative.
  static constexpr float kScaleFactor = 1.0f / kSteps;
  static uint16_t ScaleBits(const uint8_t* chunk) { return ReadAs<uint16_t>(chunk); }
};

// The points of a block of 32 columns, as panels store them: the low eight bits of kPoints indices, a word of kHighBits
// bits that has their other bits (kHighMask at bit kHighStride i for point i), and a sign for each column.
template <int kPointsOf, int kHighBitsOf = 0, int kHighStrideOf = 0, uint16_t kHighMaskOf = 0>
struct PointFields {
  static constexpr int kPoints = kPointsOf;
  static constexpr int kHighBits = kHighBitsOf;
  static constexpr int kHighStride = kHighStrideOf;
  static constexpr uint16_t kHighMask = kHighMaskOf;
};
struct BlockOfPoints {
  uint8_t low[8];
  uint16_t high = 0;
  uint32_t signs = 0;
};

// Codes from the points of a block and its signs, a bit each.
template <class Format>
struct SignedPoints {
  static constexpr bool kHasSigns = true;
  template <class Isa>
  static typename Isa::Bytes Codes(const uint8_t* chunk, int b) {
    return WithSigns<Isa>(chunk, b, Format::Signs(chunk, b));
  }
  // The signs of the eight blocks first: compilers work them out in vectors.
  template <class Isa>
  static void AllCodes(const uint8_t* chunk, typename Isa::Bytes (&codes)[8]) {
    uint32_t signs[8];
    for (int b = 0; b < 8; ++b) signs[b] = Format::Signs(chunk, b);
    for (int b = 0; b < 8; ++b) codes[b] = WithSigns<Isa>(chunk, b, signs[b]);
  }

 private:
  template <class Isa>
  static typename Isa::Bytes WithSigns(const uint8_t* chunk, int b, uint32_t signs) {
    const auto codes = Isa::NegateWhere(Format::template Points<Isa>(chunk, b), signs);
    if constexpr (Format::kOffset == 0) {
      return codes;
    } else {
      return Isa::AddBytes(codes, Isa::SetBytes(Format::kOffset));
    }
  }
};

// The scales of grid formats are odd: 2 n + 1 for each byte n.
inline uint64_t OddNumbers(uint64_t n) { return 2 * n + 0x0101010101010101; }

// Nibbles, the low one of a byte first, to a byte each.
inline uint64_t SpreadNibbles(uint32_t nibbles) {
  return EverySecondByte(nibbles & 0x0f0f0f0f) | EverySecondByte(nibbles >> 4 & 0x0f0f0f0f) << 8;
}

// Four times 7 sign bits, of 8 columns each; the eighth makes their number even.
inline uint32_t EvenSigns32(uint32_t sevens) {
  const uint32_t bits =
      (sevens & 0x7f) | (sevens << 1 & 0x7f00) | (sevens << 2 & 0x7f0000) | (sevens << 3 & 0x7f000000);
  uint32_t parity = bits ^ bits >> 4;
  parity ^= parity >> 2;
  parity ^= parity >> 1;
  return bits | (parity & 0x01010101) << 7;
}

// Formats with an odd scale for each 32 columns: Format::Odd(chunk) has a byte each, block 0 in the lowest.
template <class Format>
struct OddScales {
  template <class Isa>
  static void Scales(const uint8_t* chunk, int, typename Isa::Floats& d, typename Isa::Floats&) {
    const uint16_t half = Format::ScaleBits(chunk);
    const float scale = Isa::Half(reinterpret_cast<const uint8_t*>(&half)) * Format::kScaleFactor;
    d = Isa::Mul(Isa::Set(scale), Isa::FromBytes(Format::Odd(chunk)));
  }
  static void Fields(const uint8_t* chunk, int, ScaleFields& fields) {
    const uint64_t odd = Format::Odd(chunk);
    fields.d[0] = Format::ScaleBits(chunk);
    memcpy(fields.s, &odd, sizeof(odd));
  }
};

// The same for each 16 columns: Format::Odd(chunk, first, second) has those of four blocks in each word.
template <class Format>
struct OddSixteens {
  template <class Isa>
  static typename Isa::Shorts Scales16(const uint8_t* chunk) {
    uint64_t first, second;
    Format::Odd(chunk, first, second);
    return Isa::ShortsFrom(first, second);
  }
  static void Fields(const uint8_t* chunk, int, ScaleFields& fields) {
    uint64_t first, second;
    Format::Odd(chunk, first, second);
    fields.d[0] = Format::ScaleBits(chunk);
    memcpy(fields.s, &first, sizeof(first));
    memcpy(fields.s + 8, &second, sizeof(second));
  }
};

// Such scales in a nibble each, from Format::kNibbles on.
template <class Format>
struct NibbleSixteens : OddSixteens<Format> {
  static void Odd(const uint8_t* chunk, uint64_t& first, uint64_t& second) {
    first = OddNumbers(SpreadNibbles(ReadAs<uint32_t>(chunk + Format::kNibbles)));
    second = OddNumbers(SpreadNibbles(ReadAs<uint32_t>(chunk + Format::kNibbles + 4)));
  }
};

// Two points of four columns.
inline uint64_t PairOfPoints(const uint32_t* grid, size_t first, size_t second) {
  return grid[first] | static_cast<uint64_t>(grid[second]) << 32;
}

struct FormatIQ2_XXS : GridBlocks<66, 43, Kind::kSigned, 8>,
                       SignedPoints<FormatIQ2_XXS>,
                       OddScales<FormatIQ2_XXS>,
                       PointFields<4> {
  static constexpr uint32_t kTypeId = 16;
  template <class Isa>
  static typename Isa::Bytes Points(const uint8_t* chunk, int b) {
    const uint8_t* i = chunk + 2 + 8 * b;
    const uint64_t* grid = kIq2XxsGrid.points;
    return Isa::FromWords(grid[i[0]], grid[i[1]], grid[i[2]], grid[i[3]]);
  }
  static uint32_t Signs(const uint8_t* chunk, int b) { return EvenSigns32(ReadAs<uint32_t>(chunk + 6 + 8 * b)); }
  static uint64_t Odd(const uint8_t* chunk) {
    uint64_t n = 0;
    for (int b = 0; b < 8; ++b) n |= static_cast<uint64_t>(chunk[9 + 8 * b] >> 4) << (8 * b);
    return OddNumbers(n);
  }
  static const uint64_t* Grid() { return kIq2XxsGrid.points; }
  static BlockOfPoints Block(const uint8_t* chunk, int b) {
    BlockOfPoints block = {.low = {}, .signs = Signs(chunk, b)};
    memcpy(block.low, chunk + 2 + 8 * b, 4);
    return block;
  }
};

struct FormatIQ2_XS : GridBlocks<74, 43, Kind::kScaled16, 8>,
                      SignedPoints<FormatIQ2_XS>,
                      NibbleSixteens<FormatIQ2_XS>,
                      PointFields<4, 4, 1, 1> {
  static constexpr uint32_t kTypeId = 17;
  static constexpr size_t kNibbles = 66;
  template <class Isa>
  static typename Isa::Bytes Points(const uint8_t* chunk, int b) {
    const auto words = ReadAs<uint64_t>(chunk + 2 + 8 * b);  // 9 bits of index, 7 of signs.
    const uint64_t* grid = kIq2XsGrid.points;
    return Isa::FromWords(grid[words & 511], grid[words >> 16 & 511], grid[words >> 32 & 511], grid[words >> 48 & 511]);
  }
  static uint32_t Signs(const uint8_t* chunk, int b) {
    const auto words = ReadAs<uint64_t>(chunk + 2 + 8 * b);
    return EvenSigns32(static_cast<uint32_t>((words >> 9 & 0x7f) | (words >> 18 & 0x3f80) | (words >> 27 & 0x1fc000) |
                                             (words >> 36 & 0xfe00000)));
  }
  static const uint64_t* Grid() { return kIq2XsGrid.points; }
  static BlockOfPoints Block(const uint8_t* chunk, int b) {
    BlockOfPoints block = {.low = {}, .signs = Signs(chunk, b)};
    for (int i = 0; i < 4; ++i) {
      block.low[i] = chunk[2 + 8 * b + 2 * i];
      block.high |= static_cast<uint16_t>((chunk[3 + 8 * b + 2 * i] & 1) << i);
    }
    return block;
  }
};

struct FormatIQ2_S : GridBlocks<82, 43, Kind::kScaled16, 8>,
                     SignedPoints<FormatIQ2_S>,
                     NibbleSixteens<FormatIQ2_S>,
                     PointFields<4, 8, 2, 3> {
  static constexpr uint32_t kTypeId = 22;
  static constexpr size_t kNibbles = 74;
  template <class Isa>
  static typename Isa::Bytes Points(const uint8_t* chunk, int b) {
    const uint8_t* low = chunk + 2 + 4 * b;
    const uint32_t high = chunk[66 + b];
    const uint64_t* grid = kIq2SGrid.points;
    return Isa::FromWords(grid[low[0] | (high << 8 & 0x300)], grid[low[1] | (high << 6 & 0x300)],
                          grid[low[2] | (high << 4 & 0x300)], grid[low[3] | (high << 2 & 0x300)]);
  }
  static uint32_t Signs(const uint8_t* chunk, int b) { return ReadAs<uint32_t>(chunk + 34 + 4 * b); }
  static const uint64_t* Grid() { return kIq2SGrid.points; }
  static BlockOfPoints Block(const uint8_t* chunk, int b) {
    BlockOfPoints block = {.low = {}, .high = chunk[66 + b], .signs = Signs(chunk, b)};
    memcpy(block.low, chunk + 2 + 4 * b, 4);
    return block;
  }
};

struct FormatIQ3_XXS : GridBlocks<98, 62, Kind::kSigned, 4>,
                       SignedPoints<FormatIQ3_XXS>,
                       OddScales<FormatIQ3_XXS>,
                       PointFields<8> {
  static constexpr uint32_t kTypeId = 18;
  template <class Isa>
  static typename Isa::Bytes Points(const uint8_t* chunk, int b) {
    const uint8_t* i = chunk + 2 + 8 * b;
    const uint32_t* grid = kIq3XxsGrid.points;
    return Isa::FromWords(PairOfPoints(grid, i[0], i[1]), PairOfPoints(grid, i[2], i[3]),
                          PairOfPoints(grid, i[4], i[5]), PairOfPoints(grid, i[6], i[7]));
  }
  static uint32_t Signs(const uint8_t* chunk, int b) { return EvenSigns32(ReadAs<uint32_t>(chunk + 66 + 4 * b)); }
  static uint64_t Odd(const uint8_t* chunk) {
    uint64_t n = 0;
    for (int b = 0; b < 8; ++b) n |= static_cast<uint64_t>(chunk[69 + 4 * b] >> 4) << (8 * b);
    return OddNumbers(n);
  }
  static const uint32_t* Grid() { return kIq3XxsGrid.points; }
  static BlockOfPoints Block(const uint8_t* chunk, int b) {
    BlockOfPoints block = {.low = {}, .signs = Signs(chunk, b)};
    memcpy(block.low, chunk + 2 + 8 * b, 8);
    return block;
  }
};

struct FormatIQ3_S : GridBlocks<110, 15, Kind::kSigned, 1>,
                     SignedPoints<FormatIQ3_S>,
                     OddScales<FormatIQ3_S>,
                     PointFields<8, 8, 1, 1> {
  static constexpr uint32_t kTypeId = 21;
  template <class Isa>
  static typename Isa::Bytes Points(const uint8_t* chunk, int b) {
    const uint8_t* low = chunk + 2 + 8 * b;
    const uint32_t high = chunk[66 + b];
    const auto pair = [&](int n) {
      return PairOfPoints(kIq3SGrid.points, low[n] | (high << (8 - n) & 256), low[n + 1] | (high << (7 - n) & 256));
    };
    return Isa::FromWords(pair(0), pair(2), pair(4), pair(6));
  }
  static uint32_t Signs(const uint8_t* chunk, int b) { return ReadAs<uint32_t>(chunk + 74 + 4 * b); }
  static uint64_t Odd(const uint8_t* chunk) { return OddNumbers(SpreadNibbles(ReadAs<uint32_t>(chunk + 106))); }
  static const uint32_t* Grid() { return kIq3SGrid.points; }
  static BlockOfPoints Block(const uint8_t* chunk, int b) {
    BlockOfPoints block = {.low = {}, .high = chunk[66 + b], .signs = Signs(chunk, b)};
    memcpy(block.low, chunk + 2 + 8 * b, 8);
    return block;
  }
};

// Codes are 8 g + 1 or 8 g - 1 for a coordinate g in {-1, 0, 1}: this is 8 g.
template <class Isa>
inline typename Isa::Bytes TernaryPoints(size_t a, size_t b, size_t c, size_t d) {
  const uint64_t* grid = kIq1Grid.points;
  return Isa::And(Isa::ShiftLeft(Isa::FromWords(grid[a], grid[b], grid[c], grid[d]), 3), 0xf8);
}

template <class Format>
struct TernaryCodes {
  static constexpr bool kHasSigns = false;
  static const uint64_t* Grid() { return kIq1Grid.points; }
  template <class Isa>
  static void AllCodes(const uint8_t* chunk, typename Isa::Bytes (&codes)[8]) {
    for (int b = 0; b < 8; ++b) codes[b] = Format::template Codes<Isa>(chunk, b);
  }
};

struct FormatIQ1_S : GridBlocks<50, 9, Kind::kSigned, 8>,
                     TernaryCodes<FormatIQ1_S>,
                     OddScales<FormatIQ1_S>,
                     PointFields<4, 16, 3, 7> {
  static constexpr uint32_t kTypeId = 19;
  template <class Isa>
  static typename Isa::Bytes Codes(const uint8_t* chunk, int b) {
    const uint8_t* low = chunk + 2 + 4 * b;
    const uint32_t word = ReadAs<uint16_t>(chunk + 34 + 2 * b);
    const auto points = TernaryPoints<Isa>(low[0] | (word << 8 & 0x700), low[1] | (word << 5 & 0x700),
                                           low[2] | (word << 2 & 0x700), low[3] | (word >> 1 & 0x700));
    return Isa::AddBytes(points, Isa::SetBytes(static_cast<uint8_t>(1 - 2 * static_cast<int>(word >> 15))));
  }
  static uint64_t Odd(const uint8_t* chunk) {
    uint64_t n = 0;
    for (int b = 0; b < 8; ++b) n |= static_cast<uint64_t>(chunk[35 + 2 * b] >> 4 & 7) << (8 * b);
    return OddNumbers(n);
  }
  static constexpr int ShiftBit(int /*point*/) { return 15; }  // Of the word that has the high bits.
  static BlockOfPoints Block(const uint8_t* chunk, int b) {
    BlockOfPoints block = {.low = {}, .high = ReadAs<uint16_t>(chunk + 34 + 2 * b)};
    memcpy(block.low, chunk + 2 + 4 * b, 4);
    return block;
  }
};

struct FormatIQ1_M : GridBlocks<56, 9, Kind::kScaled16, 8>,
                     TernaryCodes<FormatIQ1_M>,
                     OddSixteens<FormatIQ1_M>,
                     PointFields<4, 16, 4, 7> {
  static constexpr uint32_t kTypeId = 29;
  template <class Isa>
  static typename Isa::Bytes Codes(const uint8_t* chunk, int b) {
    const uint8_t* low = chunk + 4 * b;
    const uint32_t high = ReadAs<uint16_t>(chunk + 32 + 2 * b);  // Nibbles: three bits of index, the shift down.
    const auto points = TernaryPoints<Isa>(low[0] | (high << 8 & 0x700), low[1] | (high << 4 & 0x700),
                                           low[2] | (high & 0x700), low[3] | (high >> 4 & 0x700));
    const auto shift = [&](int i) { return (kOffset + 1 - (high >> (4 * i + 2) & 2)) * 0x0101010101010101u; };
    return Isa::AddBytes(points, Isa::FromWords(shift(0), shift(1), shift(2), shift(3)));
  }
  // The top nibbles of the four words of scales.
  static uint16_t ScaleBits(const uint8_t* chunk) {
    const auto words = ReadAs<uint64_t>(chunk + 48);
    return static_cast<uint16_t>((words >> 12 & 0xf) | (words >> 24 & 0xf0) | (words >> 36 & 0xf00) |
                                 (words >> 48 & 0xf000));
  }
  // Scales of three bits, four to a word.
  static void Odd(const uint8_t* chunk, uint64_t& first, uint64_t& second) {
    const auto four = [&](int word) {
      const uint64_t bits = ReadAs<uint16_t>(chunk + 48 + 2 * word);
      return (bits & 7) | (bits << 5 & 0x700) | (bits << 10 & 0x70000) | (bits << 15 & 0x7000000);
    };
    first = OddNumbers(four(0) | four(1) << 32);
    second = OddNumbers(four(2) | four(3) << 32);
  }
  static constexpr int ShiftBit(int point) { return 4 * point + 3; }
  static BlockOfPoints Block(const uint8_t* chunk, int b) {
    BlockOfPoints block = {.low = {}, .high = ReadAs<uint16_t>(chunk + 32 + 2 * b)};
    memcpy(block.low, chunk + 4 * b, 4);
    return block;
  }
};

}  // namespace
}  // namespace barn
