#pragma once

#include "kernels/cpu/int8_formats.h"

// The traits of formats that few models have: ternary weights, one and two bits in order, NVFP4.

namespace barn {
namespace {

// Scales from Format::Fields: halves, and for the mins others or Format::kMinFactor times the same.
template <class Format>
struct ScalesOfFields {
  template <class Isa>
  static void Scales(const uint8_t* chunk, int blocks, typename Isa::Floats& d, typename Isa::Floats& m) {
    ScaleFields fields = {};
    Format::Fields(chunk, blocks, fields);
    if constexpr (Format::kScaleStore == ScaleStore::kPerChunk) {
      d = Isa::Set(Isa::Half(reinterpret_cast<const uint8_t*>(fields.d)));
    } else {
      d = Isa::GatherHalves(reinterpret_cast<const uint8_t*>(fields.d), sizeof(uint16_t), 8);
    }
    if constexpr (Format::kScaleStore == ScaleStore::kHalfPair) {
      m = Isa::GatherHalves(reinterpret_cast<const uint8_t*>(fields.dmin), sizeof(uint16_t), 8);
    } else {
      m = Isa::Mul(d, Isa::Set(Format::kMinFactor));
    }
  }
};

struct FormatTQ2_0 : BigBlocks<66, 2, 3, true, Kind::kAffine, ScaleStore::kPerChunk>, ScalesOfFields<FormatTQ2_0> {
  static constexpr uint32_t kTypeId = 35;
  static constexpr float kMinFactor = -1;
  template <class Isa>
  static typename Isa::Bytes Codes(const uint8_t* chunk, int b) {
    return MoveBits<Isa>(Isa::Load(chunk + 32 * (b / 4)), 2 * (b % 4), 0, 3);
  }
  static void Fields(const uint8_t* chunk, int, ScaleFields& fields) { fields.d[0] = ReadAs<uint16_t>(chunk + 64); }
};

// Five digits of base 3 to a byte. In panels of two bits they would take a quarter more, so rows stay as they are.
struct FormatTQ1_0 : BigBlocks<54, 2, 2, true, Kind::kAffine, ScaleStore::kPerChunk>, ScalesOfFields<FormatTQ1_0> {
  static constexpr uint32_t kTypeId = 34;
  static constexpr float kMinFactor = -1;
  static constexpr bool kKeepsRows = true;
  template <class Isa>
  static typename Isa::Bytes Codes(const uint8_t* chunk, int b) {
    constexpr uint64_t kEach = 0x0101010101010101;
    constexpr uint64_t kPowers[] = {1 * kEach, 3 * kEach, 9 * kEach, 27 * kEach, 81 * kEach};
    if (b < 5) return Isa::Trits(Isa::Load(chunk), Isa::FromWords(kPowers[b], kPowers[b], kPowers[b], kPowers[b]));
    const auto first = ReadAs<uint64_t>(chunk + 32), second = ReadAs<uint64_t>(chunk + 40);
    if (b < 7) {
      const uint64_t low = kPowers[2 * (b - 5)], high = kPowers[2 * (b - 5) + 1];
      return Isa::Trits(Isa::FromWords(first, second, first, second), Isa::FromWords(low, low, high, high));
    }
    const uint64_t last = ReadAs<uint32_t>(chunk + 48) * 0x0000000100000001u;  // Four digits of each of four bytes.
    return Isa::Trits(Isa::FromWords(first, second, last, last),
                      Isa::FromWords(kPowers[4], kPowers[4], 0x0303030301010101, 0x1b1b1b1b09090909));
  }
  static void Fields(const uint8_t* chunk, int, ScaleFields& fields) { fields.d[0] = ReadAs<uint16_t>(chunk + 52); }
};

// Formats with a half for each kBlocks blocks of 32 columns, in front of their codes.
template <class Format, size_t kBytes, int kBlocks>
struct WiderBlocks : ScalesOfFields<Format> {
  static constexpr size_t kChunkBytes = kBytes * (8 / kBlocks);
  static constexpr float kMinFactor = -1;
  static const uint8_t* BlockOf(const uint8_t* chunk, int b) { return chunk + kBytes * (b / kBlocks); }
  static void Fields(const uint8_t* chunk, int blocks, ScaleFields& fields) {
    for (int b = 0; b < blocks; ++b) fields.d[b] = ReadAs<uint16_t>(BlockOf(chunk, b));
  }
};

// A set bit is d, another -d: codes 2 and 0. A scale for each block and two bits would be twice the file, so rows stay.
struct FormatQ1_0 : SmallBlocks<18, 2, 2, true>, WiderBlocks<FormatQ1_0, 18, 4> {
  using Wider = WiderBlocks<FormatQ1_0, 18, 4>;
  using Wider::Fields, Wider::kChunkBytes, Wider::kMinFactor;
  static constexpr uint32_t kTypeId = 41;
  static constexpr bool kKeepsRows = true;
  template <class Isa>
  static typename Isa::Bytes Codes(const uint8_t* chunk, int b) {
    return Isa::FromBits(ReadAs<uint32_t>(BlockOf(chunk, b) + 2 + 4 * (b % 4)), 2);
  }
};

struct FormatQ2_0 : SmallBlocks<18, 2, 3, true>, WiderBlocks<FormatQ2_0, 18, 2> {
  using Wider = WiderBlocks<FormatQ2_0, 18, 2>;
  using Wider::Fields, Wider::kChunkBytes, Wider::kMinFactor;
  static constexpr uint32_t kTypeId = 42;
  template <class Isa>
  static typename Isa::Bytes Codes(const uint8_t* chunk, int b) {
    const uint8_t* codes = BlockOf(chunk, b) + 2 + 8 * (b % 2);
    const auto eight = [&](int i) {  // Pairs of bits, to a byte each.
      uint64_t bits = ReadAs<uint16_t>(codes + 2 * i);
      bits = (bits | bits << 24) & 0x000000ff000000ff;
      bits = (bits | bits << 12) & 0x000f000f000f000f;
      return (bits | bits << 6) & 0x0303030303030303;
    };
    return Isa::FromWords(eight(0), eight(1), eight(2), eight(3));
  }
};

// Half the value of a scale of NVFP4 as f16: exact, since that has more bits of both kinds. Like Ue4m3ToFloat.
inline uint16_t HalvedUe4m3(uint8_t value) {
  constexpr uint16_t kSubnormal[8] = {0, 0x1400, 0x1800, 0x1a00, 0x1c00, 0x1d00, 0x1e00, 0x1f00};
  if (value == 0x7f) return 0;
  const int exponent = value >> 3 & 15;
  return static_cast<uint16_t>(exponent == 0 ? kSubnormal[value & 7] : (exponent + 7) << 10 | (value & 7) << 7);
}

struct FormatNVFP4 : SmallBlocks<18, 4, 24, false, Kind::kHalves, ScaleStore::kHalfPair>, ScalesOfFields<FormatNVFP4> {
  static constexpr uint32_t kTypeId = 40;
  static constexpr int kOffset = 12;
  static constexpr bool kHasTable = true;
  static constexpr const int8_t* kTable = kFp4Twice;
  // Two blocks share 36 bytes: four scales, then 16 bytes for each.
  static const uint8_t* Scale(const uint8_t* chunk, int b) { return chunk + 36 * (b / 2) + 2 * (b % 2); }
  template <class Isa>
  static typename Isa::Bytes Indices(const uint8_t* chunk, int b) {
    const uint8_t* codes = chunk + 36 * (b / 2) + 4 + 16 * (b % 2);
    constexpr uint64_t kLow = 0x0f0f0f0f0f0f0f0f;
    const auto first = ReadAs<uint64_t>(codes), second = ReadAs<uint64_t>(codes + 8);
    return Isa::FromWords(first & kLow, first >> 4 & kLow, second & kLow, second >> 4 & kLow);
  }
  template <class Isa>
  static typename Isa::Bytes Codes(const uint8_t* chunk, int b) {
    return Isa::Lookup(Indices<Isa>(chunk, b), kTable);
  }
  static void Fields(const uint8_t* chunk, int blocks, ScaleFields& fields) {
    for (int b = 0; b < blocks; ++b) {
      fields.d[b] = HalvedUe4m3(Scale(chunk, b)[0]);
      fields.dmin[b] = HalvedUe4m3(Scale(chunk, b)[1]);
    }
  }
};

}  // namespace
}  // namespace barn
