#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/formats/codebooks.h"

// Weight formats that meet int8 activations, as traits over the instruction set. Layouts: kernels/formats/blocks.h.
// A chunk is 8 blocks of 32 values: one block of a K-quant, eight of a small format. Everything lives in an unnamed
// namespace, since each instruction set compiles its own copy.

namespace barn {
namespace {

// kAffine:   value = d * u + m,              u in [0, kMaxCode], d and m per 32 (m only with kHasMin).
// kSigned:   value = d * s,                  s a signed byte, d per 32.
// kScaled16: value = d * S * (u - kOffset),  S an integer per 16, d per chunk.
// kChunk:    value = d * S * (u - kOffset), or with kHasMin d * S * u - dmin * M; S and M integers per 16, d and
//            dmin per chunk. Its activations have one scale per chunk too (ScaleSpan::kChunk), so that the products of
//            a whole chunk are one integer: at two and three bits the weights are far coarser than that.
// kHalves:   value = d * (u - kOffset),      d per 16.
enum class Kind { kAffine, kSigned, kScaled16, kChunk, kHalves };

// What a packed panel (packed_layout.h) stores of a format's scales.
enum class ScaleStore {
  kHalf,         // d, f16 per block
  kHalfPair,     // d and m, f16 per block; of Kind::kHalves d of both halves
  kExponent,     // d, a power of two per block
  kBytePair,     // f16 d and dmin per chunk, S and M, a byte per block: scale d * S, min dmin * M
  kSignedByte,   // f16 d per chunk, S, a signed byte per block
  kSixteen,      // f16 d per chunk, S, a signed byte per 16
  kPairs,        // f16 d per chunk, S, two signed bytes per block and row
  kNibblePairs,  // the same with f16 dmin, and M in the upper nibbles
  kPerChunk,     // f16 d per chunk
  kFolded,       // the same; S is part of the codes
  kFoldedMin,    // the same with f16 dmin and M, two bytes per block and row
};

// The fields above of one chunk of a row. s and m: of block b, or of 16 columns, 2 b and 2 b + 1.
struct ScaleFields {
  uint16_t d[8];
  uint16_t dmin[8];
  uint8_t s[16];
  uint8_t m[16];
};

template <class T>
inline T ReadAs(const uint8_t* p) {
  T value;
  memcpy(&value, p, sizeof(T));
  return value;
}

// Moves the bits of `mask` from bit `from` of every byte to bit `to`.
template <class Isa>
inline typename Isa::Bytes MoveBits(typename Isa::Bytes bytes, int from, int to, uint8_t mask) {
  const uint8_t target = static_cast<uint8_t>(mask << to);
  return from >= to ? Isa::And(Isa::ShiftRight(bytes, from - to), target)
                    : Isa::And(Isa::ShiftLeft(bytes, to - from), target);
}

// Formats of 32 values to a block. kBits: of a code, or with kHasTable of an index into kTable.
template <size_t kBytes, int kBitsOf, int kMax, bool kMin, Kind kKindOf = Kind::kAffine,
          ScaleStore kStore = ScaleStore::kHalf>
struct SmallBlocks {
  static constexpr Kind kKind = kKindOf;
  static constexpr int kBits = kBitsOf;
  static constexpr int kMaxCode = kMax;
  static constexpr int kOffset = 0;
  static constexpr bool kHasMin = kMin;
  static constexpr size_t kChunkBytes = 8 * kBytes;
  static constexpr bool kHasTable = false;
  static constexpr ScaleStore kScaleStore = kStore;
  static constexpr float kScaleFactor = 1;
  static constexpr bool kIsGrid = false;
  static constexpr bool kKeepsRows = false;
  static constexpr bool kWholeChunks = false;
  static constexpr float kMinFactor = 0;  // ScaleStore::kHalf and kExponent: the min is this times d.

  static void Fields(const uint8_t* chunk, int blocks, ScaleFields& fields) {
    for (int b = 0; b < blocks; ++b) {
      if constexpr (kStore == ScaleStore::kExponent) {
        fields.s[b] = chunk[kBytes * b];
      } else {
        fields.d[b] = ReadAs<uint16_t>(chunk + kBytes * b);
        if constexpr (kStore == ScaleStore::kHalfPair) fields.dmin[b] = ReadAs<uint16_t>(chunk + kBytes * b + 2);
      }
    }
  }
};

struct FormatQ4_0 : SmallBlocks<18, 4, 15, true> {
  static constexpr uint32_t kTypeId = 2;
  static constexpr float kMinFactor = -8;
  template <class Isa>
  static typename Isa::Bytes Codes(const uint8_t* chunk, int b) {
    return Isa::Nibbles(chunk + 18 * b + 2);
  }
  template <class Isa>
  static void Scales(const uint8_t* chunk, int blocks, typename Isa::Floats& d, typename Isa::Floats& m) {
    d = Isa::GatherHalves(chunk, 18, blocks);
    m = Isa::Mul(d, Isa::Set(kMinFactor));
  }
};

struct FormatQ4_1 : SmallBlocks<20, 4, 15, true, Kind::kAffine, ScaleStore::kHalfPair> {
  static constexpr uint32_t kTypeId = 3;
  template <class Isa>
  static typename Isa::Bytes Codes(const uint8_t* chunk, int b) {
    return Isa::Nibbles(chunk + 20 * b + 4);
  }
  template <class Isa>
  static void Scales(const uint8_t* chunk, int blocks, typename Isa::Floats& d, typename Isa::Floats& m) {
    d = Isa::GatherHalves(chunk, 20, blocks);
    m = Isa::GatherHalves(chunk + 2, 20, blocks);
  }
};

struct FormatQ5_0 : SmallBlocks<22, 5, 31, true> {
  static constexpr uint32_t kTypeId = 6;
  static constexpr float kMinFactor = -16;
  template <class Isa>
  static typename Isa::Bytes Codes(const uint8_t* chunk, int b) {
    const uint8_t* block = chunk + 22 * b;
    return Isa::Or(Isa::Nibbles(block + 6), Isa::FromBits(ReadAs<uint32_t>(block + 2), 16));
  }
  template <class Isa>
  static void Scales(const uint8_t* chunk, int blocks, typename Isa::Floats& d, typename Isa::Floats& m) {
    d = Isa::GatherHalves(chunk, 22, blocks);
    m = Isa::Mul(d, Isa::Set(kMinFactor));
  }
};

struct FormatQ5_1 : SmallBlocks<24, 5, 31, true, Kind::kAffine, ScaleStore::kHalfPair> {
  static constexpr uint32_t kTypeId = 7;
  template <class Isa>
  static typename Isa::Bytes Codes(const uint8_t* chunk, int b) {
    const uint8_t* block = chunk + 24 * b;
    return Isa::Or(Isa::Nibbles(block + 8), Isa::FromBits(ReadAs<uint32_t>(block + 4), 16));
  }
  template <class Isa>
  static void Scales(const uint8_t* chunk, int blocks, typename Isa::Floats& d, typename Isa::Floats& m) {
    d = Isa::GatherHalves(chunk, 24, blocks);
    m = Isa::GatherHalves(chunk + 2, 24, blocks);
  }
};

struct FormatQ8_0 : SmallBlocks<34, 8, 128, false, Kind::kSigned> {
  static constexpr uint32_t kTypeId = 8;
  template <class Isa>
  static typename Isa::Bytes Codes(const uint8_t* chunk, int b) {
    return Isa::Load(chunk + 34 * b + 2);
  }
  template <class Isa>
  static void Scales(const uint8_t* chunk, int blocks, typename Isa::Floats& d, typename Isa::Floats&) {
    d = Isa::GatherHalves(chunk, 34, blocks);
  }
};

struct FormatIQ4_NL : SmallBlocks<18, 4, 127, false, Kind::kSigned> {
  static constexpr uint32_t kTypeId = 20;
  static constexpr bool kHasTable = true;
  static constexpr const int8_t* kTable = kIq4Values;
  template <class Isa>
  static typename Isa::Bytes Indices(const uint8_t* chunk, int b) {
    return Isa::Nibbles(chunk + 18 * b + 2);
  }
  template <class Isa>
  static typename Isa::Bytes Codes(const uint8_t* chunk, int b) {
    return Isa::Lookup(Indices<Isa>(chunk, b), kTable);
  }
  template <class Isa>
  static void Scales(const uint8_t* chunk, int blocks, typename Isa::Floats& d, typename Isa::Floats&) {
    d = Isa::GatherHalves(chunk, 18, blocks);
  }
};

// Twice the value of an fp4 code, plus 12 to make it unsigned; the scale is halved in turn.
constexpr int8_t kFp4Twice[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};

struct FormatMXFP4 : SmallBlocks<17, 4, 24, true, Kind::kAffine, ScaleStore::kExponent> {
  static constexpr uint32_t kTypeId = 39;
  static constexpr float kMinFactor = -12;
  static constexpr bool kHasTable = true;
  static constexpr const int8_t* kTable = kFp4Twice;
  template <class Isa>
  static typename Isa::Bytes Indices(const uint8_t* chunk, int b) {
    return Isa::Nibbles(chunk + 17 * b + 1);
  }
  template <class Isa>
  static typename Isa::Bytes Codes(const uint8_t* chunk, int b) {
    return Isa::Lookup(Indices<Isa>(chunk, b), kTable);
  }
  template <class Isa>
  static void Scales(const uint8_t* chunk, int blocks, typename Isa::Floats& d, typename Isa::Floats& m) {
    uint64_t exponents = 0;
    for (int b = 0; b < blocks; ++b) exponents |= static_cast<uint64_t>(chunk[17 * b]) << (8 * b);
    d = Isa::HalvedPowers(exponents);
    m = Isa::Mul(d, Isa::Set(kMinFactor));
  }
};

// Formats of 256 values to a block.
template <size_t kBytes, int kBitsOf, int kMax, bool kMin, Kind kKindOf, ScaleStore kStore, int kOffsetOf = 0>
struct BigBlocks {
  static constexpr Kind kKind = kKindOf;
  static constexpr int kBits = kBitsOf;
  static constexpr int kMaxCode = kMax;
  static constexpr int kOffset = kOffsetOf;
  static constexpr bool kHasMin = kMin;
  static constexpr size_t kChunkBytes = kBytes;
  static constexpr bool kHasTable = false;
  static constexpr ScaleStore kScaleStore = kStore;
  static constexpr float kScaleFactor = 1;    // d is this times the stored half.
  static constexpr bool kIsGrid = false;      // int8_grid_formats.h
  static constexpr bool kWholeChunks = true;  // A row has no part of one.
  static constexpr bool kKeepsRows = false;   // Panels would take far more memory than the file.
};

// The 6-bit scales and mins of Q4_K and Q5_K, one byte each, block 0 in the lowest byte.
inline void UnpackSixBits(const uint8_t* packed, uint64_t& scales, uint64_t& mins) {
  const uint32_t first = ReadAs<uint32_t>(packed);
  const uint32_t second = ReadAs<uint32_t>(packed + 4);
  const uint32_t third = ReadAs<uint32_t>(packed + 8);
  const uint32_t scales_high = (third & 0x0f0f0f0f) | (first >> 2 & 0x30303030);
  const uint32_t mins_high = (third >> 4 & 0x0f0f0f0f) | (second >> 2 & 0x30303030);
  scales = (first & 0x3f3f3f3f) | static_cast<uint64_t>(scales_high) << 32;
  mins = (second & 0x3f3f3f3f) | static_cast<uint64_t>(mins_high) << 32;
}

inline void SixBitFields(const uint8_t* block, ScaleFields& fields) {
  uint64_t scales, mins;
  UnpackSixBits(block + 4, scales, mins);
  fields.d[0] = ReadAs<uint16_t>(block);
  fields.dmin[0] = ReadAs<uint16_t>(block + 2);
  memcpy(fields.s, &scales, sizeof(scales));
  memcpy(fields.m, &mins, sizeof(mins));
}

template <class Isa>
inline void SixBitScales(const uint8_t* block, typename Isa::Floats& d, typename Isa::Floats& m) {
  uint64_t scales, mins;
  UnpackSixBits(block + 4, scales, mins);
  d = Isa::Mul(Isa::Set(Isa::Half(block)), Isa::FromBytes(scales));
  m = Isa::Mul(Isa::Set(-Isa::Half(block + 2)), Isa::FromBytes(mins));
}

struct FormatQ4_K : BigBlocks<144, 4, 15, true, Kind::kAffine, ScaleStore::kBytePair> {
  static constexpr uint32_t kTypeId = 12;
  template <class Isa>
  static typename Isa::Bytes Codes(const uint8_t* chunk, int b) {
    return MoveBits<Isa>(Isa::Load(chunk + 16 + 32 * (b / 2)), 4 * (b % 2), 0, 15);
  }
  template <class Isa>
  static void Scales(const uint8_t* chunk, int, typename Isa::Floats& d, typename Isa::Floats& m) {
    SixBitScales<Isa>(chunk, d, m);
  }
  static void Fields(const uint8_t* chunk, int, ScaleFields& fields) { SixBitFields(chunk, fields); }
};

struct FormatQ5_K : BigBlocks<176, 5, 31, true, Kind::kAffine, ScaleStore::kBytePair> {
  static constexpr uint32_t kTypeId = 13;
  template <class Isa>
  static typename Isa::Bytes Codes(const uint8_t* chunk, int b) {
    return Isa::Or(MoveBits<Isa>(Isa::Load(chunk + 48 + 32 * (b / 2)), 4 * (b % 2), 0, 15),
                   MoveBits<Isa>(Isa::Load(chunk + 16), b, 4, 1));
  }
  template <class Isa>
  static void Scales(const uint8_t* chunk, int, typename Isa::Floats& d, typename Isa::Floats& m) {
    SixBitScales<Isa>(chunk, d, m);
  }
  static void Fields(const uint8_t* chunk, int, ScaleFields& fields) { SixBitFields(chunk, fields); }
};

// Byte i of `bytes` becomes byte 2 i; the others are 0.
inline uint64_t EverySecondByte(uint64_t bytes) {
  bytes = (bytes | bytes << 16) & 0x0000ffff0000ffff;
  return (bytes | bytes << 8) & 0x00ff00ff00ff00ff;
}

struct FormatIQ4_XS : BigBlocks<136, 4, 127, false, Kind::kSigned, ScaleStore::kSignedByte> {
  static constexpr uint32_t kTypeId = 23;
  static constexpr bool kHasTable = true;
  static constexpr const int8_t* kTable = kIq4Values;
  template <class Isa>
  static typename Isa::Bytes Indices(const uint8_t* chunk, int b) {
    return Isa::Nibbles(chunk + 8 + 16 * b);
  }
  template <class Isa>
  static typename Isa::Bytes Codes(const uint8_t* chunk, int b) {
    return Isa::Lookup(Indices<Isa>(chunk, b), kTable);
  }
  // One byte each, block 0 in the lowest; 32 too large.
  static uint64_t BiasedScales(const uint8_t* chunk) {
    const uint32_t low = ReadAs<uint32_t>(chunk + 4);
    // Fields of 4 and of 2 bits are spread to a byte each.
    const uint64_t nibbles = EverySecondByte(low & 0x0f0f0f0f) | EverySecondByte(low >> 4 & 0x0f0f0f0f) << 8;
    uint64_t high = ReadAs<uint16_t>(chunk + 2);
    high = (high | high << 24) & 0x000000ff000000ff;
    high = (high | high << 12) & 0x000f000f000f000f;
    high = (high | high << 6) & 0x0303030303030303;
    return nibbles | high << 4;
  }
  template <class Isa>
  static void Scales(const uint8_t* chunk, int, typename Isa::Floats& d, typename Isa::Floats&) {
    d = Isa::Mul(Isa::Set(Isa::Half(chunk)), Isa::Add(Isa::FromBytes(BiasedScales(chunk)), Isa::Set(-32.0f)));
  }
  static void Fields(const uint8_t* chunk, int, ScaleFields& fields) {
    const uint64_t biased = BiasedScales(chunk);
    fields.d[0] = ReadAs<uint16_t>(chunk);
    for (int b = 0; b < 8; ++b) fields.s[b] = static_cast<uint8_t>((biased >> (8 * b) & 255) - 32);
  }
};

struct FormatQ2_K : BigBlocks<84, 2, 3, true, Kind::kChunk, ScaleStore::kNibblePairs> {
  static constexpr uint32_t kTypeId = 10;
  static constexpr int kFoldedOffset = 0;  // S * u is at most 45.
  template <class Isa>
  static typename Isa::Bytes Codes(const uint8_t* chunk, int b) {
    return MoveBits<Isa>(Isa::Load(chunk + 16 + 32 * (b / 4)), 2 * (b % 4), 0, 3);
  }
  static uint16_t ScaleBits(const uint8_t* chunk) { return ReadAs<uint16_t>(chunk + 80); }
  static constexpr size_t kMinOffset = 82;
  template <class Isa>
  static typename Isa::Shorts Scales16(const uint8_t* chunk) {
    constexpr uint64_t kLow = 0x0f0f0f0f0f0f0f0f;
    return Isa::ShortsFrom(ReadAs<uint64_t>(chunk) & kLow, ReadAs<uint64_t>(chunk + 8) & kLow);
  }
  template <class Isa>
  static typename Isa::Shorts Mins16(const uint8_t* chunk) {
    constexpr uint64_t kLow = 0x0f0f0f0f0f0f0f0f;
    return Isa::ShortsFrom(ReadAs<uint64_t>(chunk) >> 4 & kLow, ReadAs<uint64_t>(chunk + 8) >> 4 & kLow);
  }
  static void Fields(const uint8_t* chunk, int, ScaleFields& fields) {
    fields.d[0] = ScaleBits(chunk);
    fields.dmin[0] = ReadAs<uint16_t>(chunk + kMinOffset);
    for (int i = 0; i < 16; ++i) {
      fields.s[i] = chunk[i] & 15;
      fields.m[i] = chunk[i] >> 4;
    }
  }
};

struct FormatQ3_K : BigBlocks<110, 3, 7, false, Kind::kChunk, ScaleStore::kPairs, 4> {
  static constexpr uint32_t kTypeId = 11;
  static constexpr int kFoldedOffset = 127;  // S * (u - 4) is from -124 to 128.
  template <class Isa>
  static typename Isa::Bytes Codes(const uint8_t* chunk, int b) {
    return Isa::Or(MoveBits<Isa>(Isa::Load(chunk + 32 + 32 * (b / 4)), 2 * (b % 4), 0, 3),
                   MoveBits<Isa>(Isa::Load(chunk), b, 2, 1));
  }
  static uint16_t ScaleBits(const uint8_t* chunk) { return ReadAs<uint16_t>(chunk + 108); }
  // Two words of 8 scales, a byte each; 32 too large.
  static void BiasedScales(const uint8_t* chunk, uint64_t& first, uint64_t& second) {
    const uint64_t low = ReadAs<uint64_t>(chunk + 96);
    const uint64_t high = ReadAs<uint32_t>(chunk + 104);
    constexpr uint64_t kNibbles = 0x0f0f0f0f0f0f0f0f;
    constexpr uint64_t kPairs = 0x3030303030303030;
    first = (low & kNibbles) | ((high << 4 | high << 34) & kPairs);
    second = (low >> 4 & kNibbles) | ((high & 0x30303030) | (high << 30 & 0x3030303000000000));
  }
  template <class Isa>
  static typename Isa::Shorts Scales16(const uint8_t* chunk) {
    uint64_t first, second;
    BiasedScales(chunk, first, second);
    return Isa::AddToShorts(Isa::ShortsFrom(first, second), -32);
  }
  static void Fields(const uint8_t* chunk, int, ScaleFields& fields) {
    uint64_t first, second;
    BiasedScales(chunk, first, second);
    fields.d[0] = ScaleBits(chunk);
    for (int i = 0; i < 8; ++i) {
      fields.s[i] = static_cast<uint8_t>((first >> (8 * i) & 255) - 32);
      fields.s[8 + i] = static_cast<uint8_t>((second >> (8 * i) & 255) - 32);
    }
  }
};

struct FormatQ6_K : BigBlocks<210, 6, 63, false, Kind::kScaled16, ScaleStore::kSixteen, 32> {
  static constexpr uint32_t kTypeId = 14;
  template <class Isa>
  static typename Isa::Bytes Codes(const uint8_t* chunk, int b) {
    const int half = b / 4;
    const int quarter = b % 4;
    return Isa::Or(MoveBits<Isa>(Isa::Load(chunk + 64 * half + 32 * (quarter & 1)), 4 * (quarter >> 1), 0, 15),
                   MoveBits<Isa>(Isa::Load(chunk + 128 + 32 * half), 2 * quarter, 4, 3));
  }
  static uint16_t ScaleBits(const uint8_t* chunk) { return ReadAs<uint16_t>(chunk + 208); }
  template <class Isa>
  static typename Isa::Shorts Scales16(const uint8_t* chunk) {
    return Isa::ShortsFrom(ReadAs<uint64_t>(chunk + 192), ReadAs<uint64_t>(chunk + 200));
  }
  static void Fields(const uint8_t* chunk, int, ScaleFields& fields) {
    fields.d[0] = ScaleBits(chunk);
    memcpy(fields.s, chunk + 192, sizeof(fields.s));
  }
};

}  // namespace
}  // namespace barn
