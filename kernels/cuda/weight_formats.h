#pragma once

#include "kernels/cuda/gpu.h"
#include "kernels/cuda/weight_planes.h"

// One trait per format: how a lane loads kUnits neighbouring units of 32 columns from a row's planes, all loads before
// the first use, and how one of them becomes codes and scales. What the planes hold: weight_planes.cc.
namespace barn::gpu {

// The planes of one row.
struct RowPlanes {
  const uint8_t* plane[kMaxPlanes];
};

// What each unit of 32 columns has, or each 16 of them.
enum class Scaling { kScale, kScaleAndMin, kSixteens, kSixteensAndMin };

template <int units, Scaling scaling>
struct FormatTrait {
  static constexpr int kUnits = units;
  static constexpr bool kSixteens = scaling == Scaling::kSixteens || scaling == Scaling::kSixteensAndMin;
  static constexpr bool kHasMin = scaling == Scaling::kScaleAndMin || scaling == Scaling::kSixteensAndMin;
  static constexpr bool kGrid = false;  // Codes are looked up in a table in device memory.
};

// Column e of a unit is scale[e / 16] * code[e] + min[e / 16]. Codes are int8, four to a word, in order. Without
// kSixteens the first scale and min are for all; without kHasMin there is no min.
struct WeightUnit {
  uint32_t codes[8];
  float scale[2];
  float min[2];
};

template <class T>
__device__ __forceinline__ T PlaneAt(const uint8_t* plane, uint32_t offset) {
  return LdStream(reinterpret_cast<const T*>(plane + offset));
}

__device__ __forceinline__ uint32_t Word(const uint4& v, int i) {
  return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

// Packed as weight_planes.cc says.
__device__ __forceinline__ void FromNibbles(const uint4& packed, uint32_t (&codes)[8]) {
  BARN_UNROLL for (int j = 0; j < 4; ++j) {
    codes[j] = Word(packed, j) & 0x0f0f0f0f;
    codes[4 + j] = Word(packed, j) >> 4 & 0x0f0f0f0f;
  }
}
// Adds one bit to each code, at bit `to`.
__device__ __forceinline__ void AddBits(uint32_t packed, int to, uint32_t (&codes)[8]) {
  BARN_UNROLL for (int j = 0; j < 8; ++j) {
    codes[j] |= (j <= to ? packed << (to - j) : packed >> (j - to)) & 0x01010101u << to;
  }
}
__device__ __forceinline__ void FromPairs(uint32_t low, uint32_t high, uint32_t (&codes)[8]) {
  BARN_UNROLL for (int j = 0; j < 4; ++j) {
    codes[j] = low >> (2 * j) & 0x03030303;
    codes[4 + j] = high >> (2 * j) & 0x03030303;
  }
}
// Codes are entries of a table of 16 bytes, four to a word. A selector of __byte_perm takes a nibble's lower three
// bits; the fourth then chooses between the two halves of the table.
__device__ __forceinline__ void FromTable(const uint4& packed, const uint32_t (&table)[4], uint32_t (&codes)[8]) {
  BARN_UNROLL for (int j = 0; j < 4; ++j) {
    const uint32_t word = Word(packed, j);
    const uint32_t within = word & 0x77777777;
    const uint32_t which = (word >> 1 & 0x44444444) | 0x32103210;
    BARN_UNROLL for (int half = 0; half < 2; ++half) {
      const uint32_t select = within >> (16 * half);
      codes[4 * half + j] = __byte_perm(__byte_perm(table[0], table[1], select),
                                        __byte_perm(table[2], table[3], select), which >> (16 * half));
    }
  }
}
__device__ __forceinline__ float LowHalf(uint32_t pair) { return HalfToFloat(static_cast<uint16_t>(pair)); }
__device__ __forceinline__ float HighHalf(uint32_t pair) { return HalfToFloat(static_cast<uint16_t>(pair >> 16)); }

struct FormatQ4_0 : FormatTrait<1, Scaling::kScaleAndMin> {
  struct Raw {
    uint4 codes;
    uint16_t d;
  };
  static __device__ __forceinline__ Raw Load(const RowPlanes& row, uint32_t unit) {
    return {PlaneAt<uint4>(row.plane[0], 16 * unit), PlaneAt<uint16_t>(row.plane[1], 2 * unit)};
  }
  static __device__ __forceinline__ void Decode(const Raw& raw, uint32_t, int, const void*, WeightUnit& w) {
    FromNibbles(raw.codes, w.codes);
    w.scale[0] = HalfToFloat(raw.d);
    w.min[0] = -8 * w.scale[0];
  }
};

struct FormatQ4_1 : FormatTrait<1, Scaling::kScaleAndMin> {
  struct Raw {
    uint4 codes;
    uint32_t dm;
  };
  static __device__ __forceinline__ Raw Load(const RowPlanes& row, uint32_t unit) {
    return {PlaneAt<uint4>(row.plane[0], 16 * unit), PlaneAt<uint32_t>(row.plane[1], 4 * unit)};
  }
  static __device__ __forceinline__ void Decode(const Raw& raw, uint32_t, int, const void*, WeightUnit& w) {
    FromNibbles(raw.codes, w.codes);
    w.scale[0] = LowHalf(raw.dm);
    w.min[0] = HighHalf(raw.dm);
  }
};

struct FormatQ5_0 : FormatTrait<1, Scaling::kScaleAndMin> {
  struct Raw {
    uint4 codes;
    uint32_t bits;
    uint16_t d;
  };
  static __device__ __forceinline__ Raw Load(const RowPlanes& row, uint32_t unit) {
    return {PlaneAt<uint4>(row.plane[0], 16 * unit), PlaneAt<uint32_t>(row.plane[1], 4 * unit),
            PlaneAt<uint16_t>(row.plane[2], 2 * unit)};
  }
  static __device__ __forceinline__ void Decode(const Raw& raw, uint32_t, int, const void*, WeightUnit& w) {
    FromNibbles(raw.codes, w.codes);
    AddBits(raw.bits, 4, w.codes);
    w.scale[0] = HalfToFloat(raw.d);
    w.min[0] = -16 * w.scale[0];
  }
};

struct FormatQ5_1 : FormatTrait<1, Scaling::kScaleAndMin> {
  struct Raw {
    uint4 codes;
    uint32_t bits;
    uint32_t dm;
  };
  static __device__ __forceinline__ Raw Load(const RowPlanes& row, uint32_t unit) {
    return {PlaneAt<uint4>(row.plane[0], 16 * unit), PlaneAt<uint32_t>(row.plane[1], 4 * unit),
            PlaneAt<uint32_t>(row.plane[2], 4 * unit)};
  }
  static __device__ __forceinline__ void Decode(const Raw& raw, uint32_t, int, const void*, WeightUnit& w) {
    FromNibbles(raw.codes, w.codes);
    AddBits(raw.bits, 4, w.codes);
    w.scale[0] = LowHalf(raw.dm);
    w.min[0] = HighHalf(raw.dm);
  }
};

struct FormatQ8_0 : FormatTrait<1, Scaling::kScale> {
  struct Raw {
    uint4 codes[2];
    uint16_t d;
  };
  static __device__ __forceinline__ Raw Load(const RowPlanes& row, uint32_t unit) {
    return {{PlaneAt<uint4>(row.plane[0], 32 * unit), PlaneAt<uint4>(row.plane[0], 32 * unit + 16)},
            PlaneAt<uint16_t>(row.plane[1], 2 * unit)};
  }
  static __device__ __forceinline__ void Decode(const Raw& raw, uint32_t, int, const void*, WeightUnit& w) {
    BARN_UNROLL for (int j = 0; j < 8; ++j) w.codes[j] = Word(raw.codes[j / 4], j % 4);
    w.scale[0] = HalfToFloat(raw.d);
  }
};

struct FormatIQ4_NL : FormatTrait<1, Scaling::kScale> {
  using Raw = FormatQ4_0::Raw;
  static __device__ __forceinline__ Raw Load(const RowPlanes& row, uint32_t unit) {
    return FormatQ4_0::Load(row, unit);
  }
  static __device__ __forceinline__ void Decode(const Raw& raw, uint32_t, int, const void*, WeightUnit& w) {
    Codes(raw.codes, w.codes);
    w.scale[0] = HalfToFloat(raw.d);
  }
  static __device__ __forceinline__ void Codes(const uint4& packed, uint32_t (&codes)[8]) {
    // -127, -104, -83, -65; -49, -35, -22, -10; 1, 13, 25, 38; 53, 69, 89, 113
    const uint32_t table[4] = {0xbfad9881, 0xf6eaddcf, 0x26190d01, 0x71594535};
    FromTable(packed, table, codes);
  }
};

struct FormatMXFP4 : FormatTrait<1, Scaling::kScale> {
  struct Raw {
    uint4 codes;
    uint8_t exponent;
  };
  static __device__ __forceinline__ Raw Load(const RowPlanes& row, uint32_t unit) {
    return {PlaneAt<uint4>(row.plane[0], 16 * unit), PlaneAt<uint8_t>(row.plane[1], unit)};
  }
  static __device__ __forceinline__ void Decode(const Raw& raw, uint32_t, int, const void*, WeightUnit& w) {
    // Twice the values: 0, 1, 2, 3; 4, 6, 8, 12; 0, -1, -2, -3; -4, -6, -8, -12
    const uint32_t table[4] = {0x03020100, 0x0c080604, 0xfdfeff00, 0xf4f8fafc};
    FromTable(raw.codes, table, w.codes);
    const uint32_t e = raw.exponent;  // 2^(e - 128), half the scale; subnormal below 2.
    w.scale[0] = __uint_as_float(e < 2 ? 0x00200000u << e : (e - 1) << 23);
  }
};

struct FormatIQ4_XS : FormatTrait<1, Scaling::kScale> {
  struct Raw {
    uint4 codes;
    uint2 scales;
  };
  static __device__ __forceinline__ Raw Load(const RowPlanes& row, uint32_t unit) {
    return {PlaneAt<uint4>(row.plane[0], 16 * unit), PlaneAt<uint2>(row.plane[1], unit / 8 * 8)};
  }
  static __device__ __forceinline__ void Decode(const Raw& raw, uint32_t unit, int, const void*, WeightUnit& w) {
    FormatIQ4_NL::Codes(raw.codes, w.codes);
    const uint32_t s = unit % 8;
    const uint32_t low = raw.scales.y >> (4 * s) & 15;
    const uint32_t high = raw.scales.x >> (16 + 2 * s) & 3;
    w.scale[0] = LowHalf(raw.scales.x) * static_cast<float>(static_cast<int>(low | high << 4) - 32);
  }
};

// d and dmin, and three words whose nibble s is of unit s: low nibbles of the scales, of the mins, upper bits of both.
__device__ __forceinline__ void SixBitScales(const uint4& header, uint32_t unit, WeightUnit& w) {
  const uint32_t shift = unit % 8 * 4;
  const uint32_t upper = header.w >> shift;
  const uint32_t scale = (header.y >> shift & 15) | (upper << 4 & 0x30);
  const uint32_t min = (header.z >> shift & 15) | (upper << 2 & 0x30);
  w.scale[0] = LowHalf(header.x) * static_cast<float>(scale);
  w.min[0] = -HighHalf(header.x) * static_cast<float>(min);
}

struct FormatQ4_K : FormatTrait<1, Scaling::kScaleAndMin> {
  struct Raw {
    uint4 codes;
    uint4 header;
  };
  static __device__ __forceinline__ Raw Load(const RowPlanes& row, uint32_t unit) {
    return {PlaneAt<uint4>(row.plane[0], 16 * unit), PlaneAt<uint4>(row.plane[1], unit / 8 * 16)};
  }
  static __device__ __forceinline__ void Decode(const Raw& raw, uint32_t unit, int, const void*, WeightUnit& w) {
    FromNibbles(raw.codes, w.codes);
    SixBitScales(raw.header, unit, w);
  }
};

struct FormatQ5_K : FormatTrait<1, Scaling::kScaleAndMin> {
  struct Raw {
    uint4 codes;
    uint32_t bits;
    uint4 header;
  };
  static __device__ __forceinline__ Raw Load(const RowPlanes& row, uint32_t unit) {
    return {PlaneAt<uint4>(row.plane[0], 16 * unit), PlaneAt<uint32_t>(row.plane[1], 4 * unit),
            PlaneAt<uint4>(row.plane[2], unit / 8 * 16)};
  }
  static __device__ __forceinline__ void Decode(const Raw& raw, uint32_t unit, int, const void*, WeightUnit& w) {
    FromNibbles(raw.codes, w.codes);
    AddBits(raw.bits, 4, w.codes);
    SixBitScales(raw.header, unit, w);
  }
};

struct FormatQ6_K : FormatTrait<1, Scaling::kSixteensAndMin> {
  struct Raw {
    uint4 codes;
    uint2 upper;
    uint16_t scales;
    uint16_t d;
  };
  static __device__ __forceinline__ Raw Load(const RowPlanes& row, uint32_t unit) {
    return {PlaneAt<uint4>(row.plane[0], 16 * unit), PlaneAt<uint2>(row.plane[1], 8 * unit),
            PlaneAt<uint16_t>(row.plane[2], 2 * unit), PlaneAt<uint16_t>(row.plane[3], unit / 8 * 2)};
  }
  static __device__ __forceinline__ void Decode(const Raw& raw, uint32_t, int, const void*, WeightUnit& w) {
    FromNibbles(raw.codes, w.codes);
    uint32_t upper[8];
    FromPairs(raw.upper.x, raw.upper.y, upper);
    BARN_UNROLL for (int j = 0; j < 8; ++j) w.codes[j] |= upper[j] << 4;
    const float d = HalfToFloat(raw.d);
    w.scale[0] = d * static_cast<float>(static_cast<int8_t>(raw.scales & 255));
    w.scale[1] = d * static_cast<float>(static_cast<int8_t>(raw.scales >> 8));
    w.min[0] = -32 * w.scale[0];
    w.min[1] = -32 * w.scale[1];
  }
};

struct FormatQ2_K : FormatTrait<2, Scaling::kSixteensAndMin> {
  struct Raw {
    uint4 codes;
    uint32_t scales;
    uint32_t dm;
  };
  static __device__ __forceinline__ Raw Load(const RowPlanes& row, uint32_t unit) {
    return {PlaneAt<uint4>(row.plane[0], 8 * unit), PlaneAt<uint32_t>(row.plane[1], 2 * unit),
            PlaneAt<uint32_t>(row.plane[2], unit / 8 * 4)};
  }
  static __device__ __forceinline__ void Decode(const Raw& raw, uint32_t, int i, const void*, WeightUnit& w) {
    FromPairs(i == 0 ? raw.codes.x : raw.codes.z, i == 0 ? raw.codes.y : raw.codes.w, w.codes);
    const uint32_t scales = raw.scales >> (16 * i);
    const float d = LowHalf(raw.dm);
    const float dmin = -HighHalf(raw.dm);
    w.scale[0] = d * static_cast<float>(scales & 15);
    w.scale[1] = d * static_cast<float>(scales >> 8 & 15);
    w.min[0] = dmin * static_cast<float>(scales >> 4 & 15);
    w.min[1] = dmin * static_cast<float>(scales >> 12 & 15);
  }
};

struct FormatQ3_K : FormatTrait<2, Scaling::kSixteensAndMin> {
  struct Raw {
    uint4 codes;
    uint2 bits;
    uint16_t low;
    uint8_t high;
    uint16_t d;
  };
  static __device__ __forceinline__ Raw Load(const RowPlanes& row, uint32_t unit) {
    const uint32_t scales = unit / 8 * 12;
    return {PlaneAt<uint4>(row.plane[0], 8 * unit), PlaneAt<uint2>(row.plane[1], 4 * unit),
            PlaneAt<uint16_t>(row.plane[2], scales + unit % 8),
            PlaneAt<uint8_t>(row.plane[2], scales + 8 + unit % 8 / 2), PlaneAt<uint16_t>(row.plane[3], unit / 8 * 2)};
  }
  static __device__ __forceinline__ void Decode(const Raw& raw, uint32_t, int i, const void*, WeightUnit& w) {
    FromPairs(i == 0 ? raw.codes.x : raw.codes.z, i == 0 ? raw.codes.y : raw.codes.w, w.codes);
    AddBits(i == 0 ? raw.bits.x : raw.bits.y, 2, w.codes);
    const uint32_t low = raw.low >> (8 * i);
    const uint32_t high = raw.high >> (4 * i);
    const float d = HalfToFloat(raw.d);
    w.scale[0] = d * static_cast<float>(static_cast<int>((low & 15) | (high << 4 & 0x30)) - 32);
    w.scale[1] = d * static_cast<float>(static_cast<int>((low >> 4 & 15) | (high << 2 & 0x30)) - 32);
    w.min[0] = -4 * w.scale[0];
    w.min[1] = -4 * w.scale[1];
  }
};

}  // namespace barn::gpu
