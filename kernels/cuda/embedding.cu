#include "kernels/cuda/embedding.h"

#include "kernels/check.h"
#include "kernels/cuda/gpu.h"
#include "kernels/cuda/grid_formats.h"
#include "kernels/cuda/plain_formats.h"
#include "kernels/cuda/weight_dispatch.h"
#include "kernels/cuda/weight_formats.h"

namespace barn::gpu {
namespace {

constexpr int kThreads = 128;

struct EmbedParams {
  const uint8_t* planes[kMaxPlanes];
  uint32_t row_bytes[kMaxPlanes];
  const void* grid;
  const int32_t* ids;
  Rows out;
  uint32_t table_rows;
};

__device__ __forceinline__ int64_t TableRow(const EmbedParams& p, int64_t t) {
  const auto id = static_cast<uint32_t>(Ld(p.ids + t));
  return id < p.table_rows ? id : 0;
}

// A thread takes what a lane of a product loads at once, blockIdx.y is the row.
template <class Format>
__global__ void __launch_bounds__(kThreads) EmbedKernel(EmbedParams p, uint32_t units) {
  const uint32_t first = (blockIdx.x * kThreads + threadIdx.x) * Format::kUnits;
  if (first >= units) return;
  RowPlanes row;
  const int64_t table_row = TableRow(p, blockIdx.y);
  BARN_UNROLL for (int i = 0; i < kMaxPlanes; ++i) row.plane[i] = p.planes[i] + table_row * p.row_bytes[i];
  const typename Format::Raw raw = Format::Load(row, first);
  float* out = p.out.data + blockIdx.y * p.out.stride;
  BARN_UNROLL for (int i = 0; i < Format::kUnits; ++i) {
    WeightUnit w;
    Format::Decode(raw, first, i, p.grid, w);
    BARN_UNROLL for (int e = 0; e < 32; ++e) {
      const int half = Format::kSixteens ? e / 16 : 0;
      const int code = static_cast<int8_t>(w.codes[e / 4] >> (8 * (e % 4)));
      float value = w.scale[half] * static_cast<float>(code);
      if constexpr (Format::kHasMin) value += w.min[half];
      St(out + (first + static_cast<uint32_t>(i)) * 32 + e, value);
    }
  }
}

template <class Element>
__global__ void __launch_bounds__(kThreads) EmbedPlainKernel(EmbedParams p) {
  const uint32_t c = blockIdx.x * kThreads + threadIdx.x;
  if (c >= p.out.cols) return;
  const auto* row =
      reinterpret_cast<const typename Element::Stored*>(p.planes[0] + TableRow(p, blockIdx.y) * p.row_bytes[0]);
  St(p.out.data + blockIdx.y * p.out.stride + c, Element::ToFloat(LdStream(row + c)));
}

void Run(const DeviceWeight& table, EmbedParams params, Stream stream) {
  const auto grid = [&](int64_t items) {
    return dim3(static_cast<uint32_t>((items + kThreads - 1) / kThreads), static_cast<uint32_t>(params.out.rows));
  };
  if (IsPlain(table.dtype)) {
    DispatchPlain(table.dtype, [&](auto element) {
      Launch(EmbedPlainKernel<decltype(element)>, grid(table.cols), dim3(kThreads), 0, stream, params);
    });
    return;
  }
  DispatchFormat(table.dtype, [&](auto format) {
    using Format = decltype(format);
    const int64_t units = table.cols / kUnitColumns;
    Launch(EmbedKernel<Format>, grid((units + Format::kUnits - 1) / Format::kUnits), dim3(kThreads), 0, stream, params,
           static_cast<uint32_t>(units));
  });
}

}  // namespace

void EmbedRows(const DeviceWeight& table, const int32_t* ids, Rows out, Stream stream) {
  const PlaneLayout* layout = FindPlaneLayout(table.dtype);
  BARN_CHECK(layout != nullptr && out.cols == table.cols);
  EmbedParams params = {};
  for (int i = 0; i < layout->count; ++i) {
    params.planes[i] = reinterpret_cast<const uint8_t*>(table.planes[i]);
    params.row_bytes[i] = static_cast<uint32_t>(PlaneRowBytes(*layout, i, table.cols));
  }
  params.grid = table.grid;
  params.table_rows = static_cast<uint32_t>(table.rows);
  constexpr int64_t kRowsMax = 65535;  // Of a grid.
  for (int64_t at = 0; at < out.rows; at += kRowsMax) {
    params.ids = ids + at;
    params.out = out;
    params.out.data += at * out.stride;
    params.out.rows = out.rows - at < kRowsMax ? out.rows - at : kRowsMax;
    Run(table, params, stream);
  }
}

}  // namespace barn::gpu
