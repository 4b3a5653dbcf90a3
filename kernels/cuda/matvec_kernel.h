#pragma once

#include "kernels/cuda/activation_planes.h"
#include "kernels/cuda/grid_formats.h"
#include "kernels/cuda/matvec.h"
#include "kernels/cuda/weight_formats.h"

namespace barn::gpu {

inline constexpr int kMatVecWarps = 4;
// On a multiprocessor: with 8, of 64 registers a thread, some formats spill; with 7 two rows of IQ3_S and Q3_K do.
template <class Format, int kRows>
inline constexpr int kMatVecBlocks = 7;
template <>
inline constexpr int kMatVecBlocks<FormatIQ3_S, 2> = 6;
template <>
inline constexpr int kMatVecBlocks<FormatQ3_K, 2> = 6;

struct MatVecParams {
  const uint8_t* planes[kMaxPlanes];
  uint32_t row_bytes[kMaxPlanes];  // From one row of a plane to the next.
  const void* grid;
  const int8_t* codes;
  const uint2* scales;
  float* out;
  const float* bias;
  const int32_t* experts;  // Null: matrix 0, and blockIdx.y is not used.
  int64_t out_stride;
  uint32_t rows;
  uint32_t units;    // Of 32 columns, in a row.
  uint32_t columns;  // Rows of x that one call multiplies, at most kColumns.
  uint32_t pairs_per_row;
  uint32_t row_lanes;  // Lanes that share a row: 32, or fewer where a row has not enough units for them.
};

// One unit of one row times one column of activations.
template <class Format>
__device__ __forceinline__ float UnitProduct(const WeightUnit& w, const uint4 (&x)[2], const uint2& scale) {
  int first = 0;
  int second = 0;
  BARN_UNROLL for (int j = 0; j < 4; ++j) {
    first = __dp4a(static_cast<int>(w.codes[j]), static_cast<int>(Word(x[0], j)), first);
    second = __dp4a(static_cast<int>(w.codes[4 + j]), static_cast<int>(Word(x[1], j)), second);
  }
  const int first_sum = static_cast<int16_t>(scale.y & 0xffff);
  const int second_sum = static_cast<int16_t>(scale.y >> 16);
  float value;
  if constexpr (Format::kSixteens) {
    value = w.scale[0] * static_cast<float>(first) + w.scale[1] * static_cast<float>(second);
    if constexpr (Format::kHasMin) {
      value += w.min[0] * static_cast<float>(first_sum) + w.min[1] * static_cast<float>(second_sum);
    }
  } else {
    value = w.scale[0] * static_cast<float>(first + second);
    if constexpr (Format::kHasMin) value += w.min[0] * static_cast<float>(first_sum + second_sum);
  }
  return __uint_as_float(scale.x) * value;
}

// Where a row begins. Formats that look codes up need the registers that it takes.
template <class Format>
__device__ __forceinline__ const uint8_t* RowStart(const uint8_t* p) {
  if constexpr (Format::kGrid) {
    return p;
  } else {
    return Settled(p);
  }
}

// Lanes share a row: lane i of row_lanes takes units i * kUnits, and so on every row_lanes * kUnits; a group of lanes
// has kRows rows, whose loads are all on their way before the first is used. blockIdx.y: the pair of a routed product.
template <class Format, int kColumns, int kRows>
__global__ void __launch_bounds__(kMatVecWarps * 32, kMatVecBlocks<Format, kRows>) MatVecKernel(MatVecParams p) {
  const uint32_t lane = threadIdx.x % 32;
  const uint32_t group = lane / p.row_lanes;
  const uint32_t groups = 32 / p.row_lanes;
  const uint32_t warp = blockIdx.x * kMatVecWarps + threadIdx.x / 32;
  const uint32_t first_row = (warp * groups + group) * kRows;
  const uint32_t pair = blockIdx.y;
  const int expert = p.experts == nullptr ? 0 : Ld(p.experts + pair);
  const uint32_t x_row = p.experts == nullptr ? 0 : pair / p.pairs_per_row;
  const int64_t matrix_row = static_cast<int64_t>(expert < 0 ? 0 : expert) * p.rows;

  RowPlanes rows[kRows];
  BARN_UNROLL for (int r = 0; r < kRows; ++r) {
    // Lanes behind the last row read it too, so that all stay together; they store nothing.
    const int64_t row = matrix_row + min(first_row + static_cast<uint32_t>(r), p.rows - 1);
    BARN_UNROLL for (int i = 0; i < kMaxPlanes; ++i) {
      rows[r].plane[i] = RowStart<Format>(p.planes[i] + row * p.row_bytes[i]);
    }
  }
  float sums[kRows][kColumns];
  BARN_UNROLL for (int r = 0; r < kRows; ++r) { BARN_UNROLL for (int c = 0; c < kColumns; ++c) sums[r][c] = 0; }
  const uint32_t units = expert < 0 ? 0 : p.units;
  const uint64_t first_x = static_cast<uint64_t>(x_row) * p.units;
  const auto* x_codes = Settled(reinterpret_cast<const uint8_t*>(p.codes) + first_x * kUnitColumns);
  const auto* x_scales = RowStart<Format>(reinterpret_cast<const uint8_t*>(p.scales + first_x));
  const uint32_t step = p.row_lanes * Format::kUnits;
  for (uint32_t unit = lane % p.row_lanes * Format::kUnits; unit < units; unit += step) {
    typename Format::Raw raw[kRows];
    BARN_UNROLL for (int r = 0; r < kRows; ++r) raw[r] = Format::Load(rows[r], unit);
    BARN_UNROLL for (int i = 0; i < Format::kUnits; ++i) {
      WeightUnit w[kRows];
      BARN_UNROLL for (int r = 0; r < kRows; ++r) Format::Decode(raw[r], unit, i, p.grid, w[r]);
      const uint32_t at = unit + static_cast<uint32_t>(i);
      BARN_UNROLL for (int c = 0; c < kColumns; ++c) {
        if (kColumns > 1 && static_cast<uint32_t>(c) >= p.columns) break;
        const uint32_t x_unit = static_cast<uint32_t>(c) * p.units + at;
        const auto* codes = reinterpret_cast<const uint4*>(x_codes + kUnitColumns * x_unit);
        const uint4 x[2] = {Ld(codes), Ld(codes + 1)};
        const uint2 scale = Ld(reinterpret_cast<const uint2*>(x_scales + 8 * x_unit));
        BARN_UNROLL for (int r = 0; r < kRows; ++r) sums[r][c] += UnitProduct<Format>(w[r], x, scale);
      }
    }
  }
  BARN_UNROLL for (int r = 0; r < kRows; ++r) {
    const uint32_t row = first_row + static_cast<uint32_t>(r);
    BARN_UNROLL for (int c = 0; c < kColumns; ++c) {
      float sum = sums[r][c];
      BARN_UNROLL for (uint32_t bits = 16; bits > 0; bits /= 2) {
        const float other = __shfl_xor_sync(0xffffffff, sum, static_cast<int>(bits));
        if (bits < p.row_lanes) sum += other;
      }
      if (lane % p.row_lanes != 0 || row >= p.rows || static_cast<uint32_t>(c) >= p.columns) continue;
      if (p.bias != nullptr && expert >= 0) sum += Ld(p.bias + matrix_row + row);
      St(p.out + (pair + static_cast<uint32_t>(c)) * p.out_stride + row, sum);
    }
  }
}

// pairs: rows of the grid; 1 where no experts are given.
template <class Format>
void RunMatVec(MatVecParams params, uint32_t pairs, Stream stream) {
  params.row_lanes = 32;
  while (params.row_lanes > 4 && params.row_lanes / 2 * Format::kUnits >= params.units) params.row_lanes /= 2;
  const auto run = [&](auto kernel, uint32_t rows) {
    const uint32_t block_rows = kMatVecWarps * (32 / params.row_lanes) * rows;
    Launch(kernel, dim3((params.rows + block_rows - 1) / block_rows, pairs), dim3(kMatVecWarps * 32), 0, stream,
           params);
  };
  // Two rows to a lane double the bytes on their way; with more columns their registers would cost occupancy.
  if (params.columns == 1) return run(MatVecKernel<Format, 1, 2>, 2);
  if (params.columns == 2) return run(MatVecKernel<Format, 2, 1>, 1);
  if (params.columns <= 4) return run(MatVecKernel<Format, 4, 1>, 1);
  run(MatVecKernel<Format, 8, 1>, 1);
}

}  // namespace barn::gpu
