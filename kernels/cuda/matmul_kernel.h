#pragma once

#include "kernels/cuda/grid_formats.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/weight_formats.h"

namespace barn::gpu {

inline constexpr int kTileRows = 128;  // Of the weight: 16 to each of 8 warps.
inline constexpr int kTileUnits = 4;   // Of 32 columns: what a block holds of its rows and tokens at a time.
inline constexpr int kMatMulThreads = 256;
// Words of a row of codes in shared memory. Four more than its codes have: the fragments of 8 rows then lie in
// different banks.
inline constexpr int kTileStride = 8 * kTileUnits + 4;

struct MatMulParams {
  const uint8_t* planes[kMaxPlanes];
  uint32_t row_bytes[kMaxPlanes];
  const void* grid;
  const int8_t* codes;
  const uint2* scales;
  float* out;
  const float* bias;
  const int4* tiles;     // RouteTile of each blockIdx.y; null: tokens blockIdx.y * kTokens onwards, matrix 0.
  const int32_t* pairs;  // Of the routed product, in order of experts.
  int64_t out_stride;
  uint32_t rows;
  uint32_t units;   // Of 32 columns, in a row.
  uint32_t tokens;  // Of a product without tiles.
  uint32_t pairs_per_row;
};

// A unit's scale and min, for each 16 columns where the format has them so.
template <bool kSixteens>
struct UnitScales {
  float scale, min;
};
template <>
struct alignas(16) UnitScales<true> {
  float scale, second_scale, min, second_min;
};

// acc += scale of the token * (scale * sums + min * sums of the token's codes), for four elements of a 16 x 8 product:
// i / 2 says which of the lane's rows, i % 2 which of its tokens.
template <class Format>
__device__ __forceinline__ void MultiplyUnit(const uint32_t (&a)[4], const uint32_t (&b)[2],
                                             const UnitScales<Format::kSixteens> (&w)[2], const uint4& x,
                                             float (&acc)[4]) {
  const float token_scale[2] = {__uint_as_float(x.x), __uint_as_float(x.z)};
  const uint32_t token_sums[2] = {x.y, x.w};
  if constexpr (Format::kSixteens) {
    int first[4] = {0, 0, 0, 0};
    int second[4] = {0, 0, 0, 0};
    MmaS8K16(first, {a[0], a[1]}, b[0]);
    MmaS8K16(second, {a[2], a[3]}, b[1]);
    BARN_UNROLL for (int i = 0; i < 4; ++i) {
      const auto& row = w[i / 2];
      float value = row.scale * static_cast<float>(first[i]) + row.second_scale * static_cast<float>(second[i]);
      if constexpr (Format::kHasMin) {
        value += row.min * static_cast<float>(static_cast<int16_t>(token_sums[i % 2] & 0xffff)) +
                 row.second_min * static_cast<float>(static_cast<int16_t>(token_sums[i % 2] >> 16));
      }
      acc[i] += token_scale[i % 2] * value;
    }
  } else {
    int sums[4] = {0, 0, 0, 0};
    MmaS8(sums, a, b);
    BARN_UNROLL for (int i = 0; i < 4; ++i) {
      float value = w[i / 2].scale * static_cast<float>(sums[i]);
      if constexpr (Format::kHasMin) {
        value += w[i / 2].min * static_cast<float>(static_cast<int16_t>(token_sums[i % 2] & 0xffff) +
                                                   static_cast<int16_t>(token_sums[i % 2] >> 16));
      }
      acc[i] += token_scale[i % 2] * value;
    }
  }
}

// Two neighbouring units of a row, as they come from memory.
template <class Format>
struct RawPair {
  typename Format::Raw raw[2 / Format::kUnits];
};

template <class Format>
__device__ __forceinline__ RawPair<Format> LoadPair(const RowPlanes& row, uint32_t unit, uint32_t units) {
  RawPair<Format> pair = {};
  BARN_UNROLL for (int i = 0; i < 2 / Format::kUnits; ++i) {
    if (unit + static_cast<uint32_t>(i) < units) pair.raw[i] = Format::Load(row, unit + static_cast<uint32_t>(i));
  }
  return pair;
}

// A block multiplies kTileRows rows (blockIdx.x) with kTokens tokens (blockIdx.y). In each step its threads decode the
// next units of all rows to int8 and take the tokens' into shared memory; the loads of the step after are on their way
// while warps multiply.
template <class Format, int kTokens>
__global__ void __launch_bounds__(kMatMulThreads) MatMulKernel(MatMulParams p) {
  BARN_SHARED(uint32_t, weight_codes, [kTileRows][kTileStride]);
  BARN_SHARED(UnitScales<Format::kSixteens>, weight_scales, [kTileUnits][kTileRows]);
  BARN_SHARED(uint32_t, token_codes, [kTokens][kTileStride]);
  BARN_SHARED(uint4, token_scales, [kTileUnits][kTokens / 2]);  // Two tokens in one, as UnitScale.

  int4 tile = make_int4(0, static_cast<int>(blockIdx.y) * kTokens, 0, 0);
  if (p.tiles != nullptr) {
    tile = Ld(p.tiles + blockIdx.y);
    if (tile.x < 0) return;  // All threads alike.
  } else {
    tile.z = min(static_cast<int>(p.tokens) - tile.y, kTokens);
  }
  const uint32_t first_row = blockIdx.x * kTileRows;
  const int64_t matrix_row = static_cast<int64_t>(tile.x) * p.rows;

  // This thread's part of every step: two units of a row, one unit of a token.
  const uint32_t my_row = threadIdx.x / 2;
  const uint32_t my_unit = threadIdx.x % 2 * 2;
  RowPlanes row;
  BARN_UNROLL for (int i = 0; i < kMaxPlanes; ++i) {
    row.plane[i] = p.planes[i] + (matrix_row + min(first_row + my_row, p.rows - 1)) * p.row_bytes[i];
  }
  const auto my_token = static_cast<int>(threadIdx.x) / kTileUnits;
  const uint32_t my_token_unit = threadIdx.x % kTileUnits;
  uint64_t x_unit = 0;
  if (my_token < tile.z) {
    const uint32_t x_row = p.pairs == nullptr
                               ? static_cast<uint32_t>(tile.y + my_token)
                               : static_cast<uint32_t>(Ld(p.pairs + tile.y + my_token)) / p.pairs_per_row;
    x_unit = static_cast<uint64_t>(x_row) * p.units;
  }

  const uint32_t warp_row = threadIdx.x / 32 * 16;
  const uint32_t g = threadIdx.x % 32 / 4;
  const uint32_t q = threadIdx.x % 4;
  float acc[kTokens / 8][4];
  BARN_UNROLL for (int n = 0; n < kTokens / 8; ++n) { BARN_UNROLL for (int i = 0; i < 4; ++i) acc[n][i] = 0; }

  RawPair<Format> pair = LoadPair<Format>(row, my_unit, p.units);
  for (uint32_t unit = 0; unit < p.units; unit += kTileUnits) {
    __syncthreads();  // Nobody still reads the step before.
    BARN_UNROLL for (int i = 0; i < 2; ++i) {
      WeightUnit w = {};
      if (unit + my_unit + static_cast<uint32_t>(i) < p.units) {
        Format::Decode(pair.raw[i / Format::kUnits], unit + my_unit + static_cast<uint32_t>(i % (2 / Format::kUnits)),
                       i % Format::kUnits, p.grid, w);
      }
      auto* codes = reinterpret_cast<uint4*>(&weight_codes[my_row][8 * (my_unit + static_cast<uint32_t>(i))]);
      codes[0] = make_uint4(w.codes[0], w.codes[1], w.codes[2], w.codes[3]);
      codes[1] = make_uint4(w.codes[4], w.codes[5], w.codes[6], w.codes[7]);
      auto& scales = weight_scales[my_unit + static_cast<uint32_t>(i)][my_row];
      scales.scale = w.scale[0];
      scales.min = w.min[0];
      if constexpr (Format::kSixteens) {
        scales.second_scale = w.scale[1];
        scales.second_min = w.min[1];
      }
    }
    if (my_token < kTokens) {
      uint4 codes[2] = {make_uint4(0, 0, 0, 0), make_uint4(0, 0, 0, 0)};
      uint2 scale = make_uint2(0, 0);
      if (my_token < tile.z && unit + my_token_unit < p.units) {
        const uint64_t at = x_unit + unit + my_token_unit;
        codes[0] = Ld(reinterpret_cast<const uint4*>(p.codes) + 2 * at);
        codes[1] = Ld(reinterpret_cast<const uint4*>(p.codes) + 2 * at + 1);
        scale = Ld(p.scales + at);
      }
      auto* to = reinterpret_cast<uint4*>(&token_codes[my_token][8 * my_token_unit]);
      to[0] = codes[0];
      to[1] = codes[1];
      reinterpret_cast<uint2*>(&token_scales[my_token_unit][0])[my_token] = scale;
    }
    __syncthreads();
    if (unit + kTileUnits < p.units) pair = LoadPair<Format>(row, unit + kTileUnits + my_unit, p.units);
    BARN_UNROLL_FROM_80 for (int u = 0; u < kTileUnits; ++u) {
      const uint32_t* low = &weight_codes[warp_row + g][8 * u + q];
      const uint32_t* high = &weight_codes[warp_row + g + 8][8 * u + q];
      const uint32_t a[4] = {low[0], high[0], low[4], high[4]};
      const UnitScales<Format::kSixteens> scales[2] = {weight_scales[u][warp_row + g],
                                                       weight_scales[u][warp_row + g + 8]};
      BARN_UNROLL for (int n = 0; n < kTokens / 8; ++n) {
        const uint32_t* token = &token_codes[8 * n + g][8 * u + q];
        MultiplyUnit<Format>(a, {token[0], token[4]}, scales, token_scales[u][4 * n + q], acc[n]);
      }
    }
  }

  BARN_UNROLL for (int half = 0; half < 2; ++half) {
    const uint32_t out_row = first_row + warp_row + g + 8 * half;
    if (out_row >= p.rows) continue;
    const float bias = p.bias == nullptr ? 0.0f : Ld(p.bias + matrix_row + out_row);
    BARN_UNROLL for (int n = 0; n < kTokens / 8; ++n) {
      BARN_UNROLL for (int i = 0; i < 2; ++i) {
        const int token = 8 * n + 2 * static_cast<int>(q) + i;
        if (token >= tile.z) continue;
        const int64_t to = p.pairs == nullptr ? tile.y + token : Ld(p.pairs + tile.y + token);
        St(p.out + to * p.out_stride + out_row, acc[n][2 * half + i] + bias);
      }
    }
  }
}

// tile_tokens: 16 or 64. tiles: of tokens.
template <class Format>
void RunMatMul(const MatMulParams& params, int tile_tokens, uint32_t tiles, Stream stream) {
  const dim3 grid((params.rows + kTileRows - 1) / kTileRows, tiles);
  if (tile_tokens == 16) {
    Launch(MatMulKernel<Format, 16>, grid, dim3(kMatMulThreads), 0, stream, params);
  } else {
    Launch(MatMulKernel<Format, 64>, grid, dim3(kMatMulThreads), 0, stream, params);
  }
}

}  // namespace barn::gpu
