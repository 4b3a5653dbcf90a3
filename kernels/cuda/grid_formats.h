#pragma once

#include "kernels/cuda/weight_formats.h"

// The traits of formats whose codes are points of a grid: an index stands for 4 or 8 columns, and signs or a shift come
// on top. The grids are tables in device memory (FindGridTable), small enough for the first-level cache.
namespace barn::gpu {

// Each of the lowest four bits becomes the lowest bit of a byte.
__device__ __forceinline__ uint32_t SpreadBits(uint32_t bits) { return (bits & 15) * 0x00204081 & 0x01010101; }

// Negates the bytes of a word whose bit in signs is set. No byte is 0, so that no carry leaves one.
__device__ __forceinline__ uint32_t Negate(uint32_t bytes, uint32_t signs) {
  const uint32_t ones = SpreadBits(signs);
  return (bytes ^ ones * 255) + ones;
}

// Signs of 8 columns from 7 bits: the eighth makes their number even.
__device__ __forceinline__ uint32_t EvenSigns8(uint32_t bits) {
  bits &= 127;
  return bits | (static_cast<uint32_t>(__popc(static_cast<int>(bits))) & 1) << 7;
}

// Point `index` of 8 columns and its signs, as codes[2 * i] and the next.
__device__ __forceinline__ void PutPoint8(const void* grid, uint32_t index, uint32_t signs, int i,
                                          uint32_t (&codes)[8]) {
  const uint2 point = Ld(static_cast<const uint2*>(grid) + index);
  codes[2 * i] = Negate(point.x, signs);
  codes[2 * i + 1] = Negate(point.y, signs >> 4);
}

// Two points of 4 columns.
__device__ __forceinline__ void PutPoints4(const void* grid, uint32_t first, uint32_t second, uint32_t signs, int i,
                                           uint32_t (&codes)[8]) {
  codes[2 * i] = Negate(Ld(static_cast<const uint32_t*>(grid) + first), signs);
  codes[2 * i + 1] = Negate(Ld(static_cast<const uint32_t*>(grid) + second), signs >> 4);
}

// Bytewise sum without carries.
__device__ __forceinline__ uint32_t AddBytes(uint32_t a, uint32_t b) {
  return ((a & 0x7f7f7f7f) + (b & 0x7f7f7f7f)) ^ ((a ^ b) & 0x80808080);
}

// Eight times a point of coordinates -1, 0, 1, and one more or less.
__device__ __forceinline__ void PutTernary(const void* grid, uint32_t index, bool less, int i, uint32_t (&codes)[8]) {
  const uint2 point = Ld(static_cast<const uint2*>(grid) + index);
  const uint32_t step = less ? 0xffffffffu : 0x01010101u;
  codes[2 * i] = AddBytes(point.x << 3 & 0xf8f8f8f8, step);
  codes[2 * i + 1] = AddBytes(point.y << 3 & 0xf8f8f8f8, step);
}

__device__ __forceinline__ float Odd(uint32_t n) { return static_cast<float>(2 * n + 1); }

template <int units, Scaling scaling>
struct GridTrait : FormatTrait<units, scaling> {
  static constexpr bool kGrid = true;
};

struct FormatIQ2_XXS : GridTrait<2, Scaling::kScale> {
  struct Raw {
    uint4 words;
    uint16_t d;
  };
  static __device__ __forceinline__ Raw Load(const RowPlanes& row, uint32_t unit) {
    return {PlaneAt<uint4>(row.plane[0], 8 * unit), PlaneAt<uint16_t>(row.plane[1], unit / 8 * 2)};
  }
  static __device__ __forceinline__ void Decode(const Raw& raw, uint32_t, int i, const void* grid, WeightUnit& w) {
    const uint32_t indices = i == 0 ? raw.words.x : raw.words.z;
    const uint32_t signs = i == 0 ? raw.words.y : raw.words.w;
    BARN_UNROLL for (int p = 0; p < 4; ++p) {
      PutPoint8(grid, indices >> (8 * p) & 255, EvenSigns8(signs >> (7 * p)), p, w.codes);
    }
    w.scale[0] = HalfToFloat(raw.d) * 0.125f * Odd(signs >> 28);
  }
};

struct FormatIQ2_XS : GridTrait<2, Scaling::kSixteens> {
  struct Raw {
    uint4 words;
    uint16_t scales;
    uint16_t d;
  };
  static __device__ __forceinline__ Raw Load(const RowPlanes& row, uint32_t unit) {
    return {PlaneAt<uint4>(row.plane[0], 8 * unit), PlaneAt<uint16_t>(row.plane[1], unit),
            PlaneAt<uint16_t>(row.plane[2], unit / 8 * 2)};
  }
  static __device__ __forceinline__ void Decode(const Raw& raw, uint32_t, int i, const void* grid, WeightUnit& w) {
    BARN_UNROLL for (int p = 0; p < 4; ++p) {
      const uint32_t pair = Word(raw.words, 2 * i + p / 2);
      const uint32_t word = pair >> (16 * (p % 2));
      PutPoint8(grid, word & 511, EvenSigns8(word >> 9), p, w.codes);
    }
    const float d = HalfToFloat(raw.d) * 0.125f;
    w.scale[0] = d * Odd(raw.scales >> (8 * i) & 15);
    w.scale[1] = d * Odd(raw.scales >> (8 * i + 4) & 15);
  }
};

struct FormatIQ2_S : GridTrait<2, Scaling::kSixteens> {
  struct Raw {
    uint4 words;
    uint32_t upper_and_scales;
    uint16_t d;
  };
  static __device__ __forceinline__ Raw Load(const RowPlanes& row, uint32_t unit) {
    return {PlaneAt<uint4>(row.plane[0], 8 * unit), PlaneAt<uint32_t>(row.plane[1], 2 * unit),
            PlaneAt<uint16_t>(row.plane[2], unit / 8 * 2)};
  }
  static __device__ __forceinline__ void Decode(const Raw& raw, uint32_t, int i, const void* grid, WeightUnit& w) {
    const uint32_t low = i == 0 ? raw.words.x : raw.words.z;
    const uint32_t signs = i == 0 ? raw.words.y : raw.words.w;
    const uint32_t more = raw.upper_and_scales >> (16 * i);
    BARN_UNROLL for (int p = 0; p < 4; ++p) {
      PutPoint8(grid, (low >> (8 * p) & 255) | (more >> (2 * p) & 3) << 8, signs >> (8 * p), p, w.codes);
    }
    const float d = HalfToFloat(raw.d) * 0.125f;
    w.scale[0] = d * Odd(more >> 8 & 15);
    w.scale[1] = d * Odd(more >> 12 & 15);
  }
};

struct FormatIQ3_XXS : GridTrait<2, Scaling::kScale> {
  struct Raw {
    uint4 indices;
    uint2 signs;
    uint16_t d;
  };
  static __device__ __forceinline__ Raw Load(const RowPlanes& row, uint32_t unit) {
    return {PlaneAt<uint4>(row.plane[0], 8 * unit), PlaneAt<uint2>(row.plane[1], 4 * unit),
            PlaneAt<uint16_t>(row.plane[2], unit / 8 * 2)};
  }
  static __device__ __forceinline__ void Decode(const Raw& raw, uint32_t, int i, const void* grid, WeightUnit& w) {
    const uint32_t signs = i == 0 ? raw.signs.x : raw.signs.y;
    BARN_UNROLL for (int p = 0; p < 4; ++p) {
      const uint32_t pair = Word(raw.indices, 2 * i + p / 2) >> (16 * (p % 2));
      PutPoints4(grid, pair & 255, pair >> 8 & 255, EvenSigns8(signs >> (7 * p)), p, w.codes);
    }
    w.scale[0] = HalfToFloat(raw.d) * 0.25f * Odd(signs >> 28);
  }
};

struct FormatIQ3_S : GridTrait<2, Scaling::kScale> {
  struct Raw {
    uint4 indices;
    uint2 signs;
    uint16_t upper;
    uint16_t d;
    uint16_t scales;  // Of four units.
  };
  static __device__ __forceinline__ Raw Load(const RowPlanes& row, uint32_t unit) {
    const uint32_t super = unit / 8 * 6;
    return {PlaneAt<uint4>(row.plane[0], 8 * unit), PlaneAt<uint2>(row.plane[1], 4 * unit),
            PlaneAt<uint16_t>(row.plane[2], unit), PlaneAt<uint16_t>(row.plane[3], super),
            PlaneAt<uint16_t>(row.plane[3], super + 2 + unit % 8 / 4 * 2)};
  }
  static __device__ __forceinline__ void Decode(const Raw& raw, uint32_t unit, int i, const void* grid, WeightUnit& w) {
    const uint32_t signs = i == 0 ? raw.signs.x : raw.signs.y;
    const uint32_t upper = raw.upper >> (8 * i);
    BARN_UNROLL for (int p = 0; p < 4; ++p) {
      const uint32_t pair = Word(raw.indices, 2 * i + p / 2) >> (16 * (p % 2));
      PutPoints4(grid, (pair & 255) | (upper >> (2 * p) & 1) << 8, (pair >> 8 & 255) | (upper >> (2 * p + 1) & 1) << 8,
                 signs >> (8 * p), p, w.codes);
    }
    w.scale[0] = HalfToFloat(raw.d) * Odd(raw.scales >> (4 * ((unit + static_cast<uint32_t>(i)) % 4)) & 15);
  }
};

struct FormatIQ1_S : GridTrait<2, Scaling::kScale> {
  struct Raw {
    uint2 low;
    uint32_t words;
    uint16_t d;
  };
  static __device__ __forceinline__ Raw Load(const RowPlanes& row, uint32_t unit) {
    return {PlaneAt<uint2>(row.plane[0], 4 * unit), PlaneAt<uint32_t>(row.plane[1], 2 * unit),
            PlaneAt<uint16_t>(row.plane[2], unit / 8 * 2)};
  }
  static __device__ __forceinline__ void Decode(const Raw& raw, uint32_t, int i, const void* grid, WeightUnit& w) {
    const uint32_t low = i == 0 ? raw.low.x : raw.low.y;
    const uint32_t word = raw.words >> (16 * i) & 0xffff;
    BARN_UNROLL for (int p = 0; p < 4; ++p) {
      PutTernary(grid, (low >> (8 * p) & 255) | (word >> (3 * p) & 7) << 8, word >> 15 != 0, p, w.codes);
    }
    w.scale[0] = HalfToFloat(raw.d) * 0.125f * Odd(word >> 12 & 7);
  }
};

struct FormatIQ1_M : GridTrait<2, Scaling::kSixteens> {
  struct Raw {
    uint2 low;
    uint32_t upper;
    uint2 scales;
  };
  static __device__ __forceinline__ Raw Load(const RowPlanes& row, uint32_t unit) {
    return {PlaneAt<uint2>(row.plane[0], 4 * unit), PlaneAt<uint32_t>(row.plane[1], 2 * unit),
            PlaneAt<uint2>(row.plane[2], unit / 8 * 8)};
  }
  static __device__ __forceinline__ void Decode(const Raw& raw, uint32_t unit, int i, const void* grid, WeightUnit& w) {
    const uint32_t low = i == 0 ? raw.low.x : raw.low.y;
    const uint32_t upper = raw.upper >> (16 * i);
    BARN_UNROLL for (int p = 0; p < 4; ++p) {
      const uint32_t nibble = upper >> (4 * p) & 15;
      PutTernary(grid, (low >> (8 * p) & 255) | (nibble & 7) << 8, nibble >> 3 != 0, p, w.codes);
    }
    // The top nibbles of the four words of scales are the scale of the super-block; twelve bits are of two units each.
    const uint32_t half = (raw.scales.x >> 12 & 0xf) | (raw.scales.x >> 24 & 0xf0) | (raw.scales.y >> 4 & 0xf00) |
                          (raw.scales.y >> 16 & 0xf000);
    const uint32_t s = (unit + static_cast<uint32_t>(i)) % 8;
    const uint32_t word = (s < 4 ? raw.scales.x : raw.scales.y) >> (16 * (s / 2 % 2));
    const uint32_t bits = word >> (6 * (s % 2));
    const float d = HalfToFloat(static_cast<uint16_t>(half)) * 0.125f;
    w.scale[0] = d * Odd(bits & 7);
    w.scale[1] = d * Odd(bits >> 3 & 7);
  }
};

}  // namespace barn::gpu
