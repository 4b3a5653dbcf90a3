#include "kernels/cuda/kv_rows.h"

#include "kernels/cuda/gpu.h"
#include "kernels/cuda/kv_access.h"
#include "kernels/cuda/row_access.h"

namespace barn::gpu {
namespace {

constexpr int kWarps = 4;
constexpr float kHalfMax = 65504.0f;

// A NaN stays.
__device__ __forceinline__ float Bounded(float x, float limit) { return x > limit ? limit : x < -limit ? -limit : x; }

struct Plane {
  void* elements;
  uint16_t* scales;
  int64_t width;
};

// The scale is rounded to f16 and the codes are taken with what remains of it; a unit with a NaN has no other.
struct UnitScale {
  uint16_t half;
  float inverse;
};
__device__ __forceinline__ UnitScale RoundScale(float scale, bool is_number) {
  const uint16_t half = is_number ? FloatToHalf(scale) : static_cast<uint16_t>(0x7e00);
  const float rounded = HalfToFloat(half);
  return {half, fabsf(rounded) > 0 ? 1.0f / rounded : 0.0f};
}

// As FloatKernels::float_to_q8 of the CPU does it.
__device__ __forceinline__ void WriteUnitQ8(const Plane& plane, int64_t row, uint32_t unit, float value,
                                            bool inside BARN_SITE_PARAM) {
  const uint32_t lane = threadIdx.x % 32;
  const float bounded = Bounded(value, 127.0f * kHalfMax);
  const float largest = WarpMax(bounded == bounded ? fabsf(bounded) : INFINITY BARN_SITE);
  const bool is_number = largest < INFINITY;
  const UnitScale scale = RoundScale(largest / 127.0f, is_number);
  const float exact = is_number ? Bounded(bounded * scale.inverse, 127.0f) : 0.0f;
  const auto code = static_cast<int8_t>(__float2int_rn(exact));
  if (inside) St(static_cast<int8_t*>(plane.elements) + row * plane.width + unit * 32 + lane, code);
  if (lane == 0) St(plane.scales + row * ScalesOfRow(plane.width) + unit, scale.half);
}

// As float_to_q4; what lies behind the row's end is 0.
__device__ __forceinline__ void WriteUnitQ4(const Plane& plane, int64_t row, uint32_t unit,
                                            float value BARN_SITE_PARAM) {
  const uint32_t lane = threadIdx.x % 32;
  const float bounded = Bounded(value, 8.0f * kHalfMax);
  const bool own_is_number = bounded == bounded;
  const float most = WarpMax(own_is_number ? bounded : INFINITY BARN_SITE);
  const float least = WarpMax(own_is_number ? -bounded : INFINITY BARN_SITE);
  const bool is_number = most < INFINITY;
  const float signed_scale = (least >= most ? least : -most) / 8.0f + 0.0f;  // Not -0 for a unit of zeros.
  const UnitScale scale = RoundScale(signed_scale, is_number);
  const float exact = is_number ? fmaxf(fminf(bounded * scale.inverse, 7.0f), -8.0f) : 0.0f;
  const int code = __float2int_rn(exact) + 8;
  const int other = __shfl_xor_sync(0xffffffff, code, 16 BARN_SITE);
  uint8_t* codes = static_cast<uint8_t*>(plane.elements) + row * NibbleBytesOfRow(plane.width) + unit * 16;
  if (lane < 16) St(codes + lane, static_cast<uint8_t>(code | other << 4));
  if (lane == 0) St(plane.scales + row * ScalesOfRow(plane.width) + unit, scale.half);
}

// One unit of 32 elements of a row, an element to a lane; inside: this lane has one, else the value is 0.
__device__ __forceinline__ void WriteUnit(KvType type, const Plane& plane, int64_t row, uint32_t unit, float value,
                                          bool inside BARN_SITE_PARAM) {
  const int64_t at = row * plane.width + unit * 32 + threadIdx.x % 32;
  if (type == KvType::kF16) {
    if (inside) St(static_cast<uint16_t*>(plane.elements) + at, FloatToHalf(Bounded(value, kHalfMax)));
    return;
  }
  if (type == KvType::kF32) {
    if (inside) St(static_cast<float*>(plane.elements) + at, value);
    return;
  }
  if (type == KvType::kQ8_0) return WriteUnitQ8(plane, row, unit, value, inside BARN_SITE);
  WriteUnitQ4(plane, row, unit, value BARN_SITE);
}

// A warp takes a unit; units of a row: those of all heads' keys, then of their values.
__global__ void __launch_bounds__(kWarps * 32)
    WriteKvKernel(KvPlanes kv, StepRows step, Rows k, Rows v, uint32_t k_units, uint32_t row_units, uint64_t units) {
  const uint64_t index = static_cast<uint64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (index >= units) return;  // The whole warp.
  const auto t = static_cast<int64_t>(index / row_units);
  const int32_t position = Ld(step.positions + t);
  if (position < 0) return;
  auto unit = static_cast<uint32_t>(index - static_cast<uint64_t>(t) * row_units);
  const uint32_t all_k_units = k_units * static_cast<uint32_t>(kv.kv_heads);
  const bool is_key = unit < all_k_units;
  const Plane plane = is_key ? Plane{kv.k, kv.k_scales, kv.k_width} : Plane{kv.v, kv.v_scales, kv.v_width};
  const uint32_t head_units = is_key ? k_units : static_cast<uint32_t>((kv.v_width + 31) / 32);
  if (!is_key) unit -= all_k_units;
  const uint32_t head = unit / head_units;
  unit -= head * head_units;
  const float* from = is_key ? k.data + t * k.stride : v.data + t * v.stride;
  const int64_t column = unit * 32 + threadIdx.x % 32;
  const bool inside = column < plane.width;
  const float value = inside ? Ld(from + head * plane.width + column) : 0.0f;
  WriteUnit(kv.type, plane, KvRow(kv, step.blocks + Ld(step.table_begin + t), position, head), unit, value, inside);
}

// blockIdx.y: the pair. T: as wide as the block's bytes allow.
template <class T>
__global__ void __launch_bounds__(256) CopyBlocksKernel(uint8_t* plane, int64_t block_bytes, const int32_t* pairs) {
  const auto at = (static_cast<int64_t>(blockIdx.x) * 256 + threadIdx.x) * static_cast<int64_t>(sizeof(T));
  if (at >= block_bytes) return;
  const int64_t from = Ld(pairs + 2 * blockIdx.y);
  const int64_t to = Ld(pairs + 2 * blockIdx.y + 1);
  St(reinterpret_cast<T*>(plane + to * block_bytes + at),
     LdStream(reinterpret_cast<const T*>(plane + from * block_bytes + at)));
}

void CopyPlane(void* plane, int64_t block_bytes, const int32_t* pairs, int64_t count, Stream stream) {
  if (plane == nullptr || block_bytes == 0) return;
  const bool wide = reinterpret_cast<uintptr_t>(plane) % 16 == 0 && block_bytes % 16 == 0;
  const int64_t items = wide ? block_bytes / 16 : block_bytes;
  constexpr int64_t kPairsMax = 65535;  // Rows of a grid.
  for (int64_t at = 0; at < count; at += kPairsMax) {
    const dim3 grid(static_cast<uint32_t>((items + 255) / 256),
                    static_cast<uint32_t>(count - at < kPairsMax ? count - at : kPairsMax));
    auto* bytes = static_cast<uint8_t*>(plane);
    if (wide) {
      Launch(CopyBlocksKernel<uint4>, grid, dim3(256), 0, stream, bytes, block_bytes, pairs + 2 * at);
    } else {
      Launch(CopyBlocksKernel<uint8_t>, grid, dim3(256), 0, stream, bytes, block_bytes, pairs + 2 * at);
    }
  }
}

}  // namespace

void WriteKv(const KvPlanes& kv, const StepRows& step, Rows k, Rows v, Stream stream) {
  const auto k_units = static_cast<uint32_t>((kv.k_width + 31) / 32);
  const auto v_units = kv.v_is_k_prefix ? 0 : static_cast<uint32_t>((kv.v_width + 31) / 32);
  const uint32_t row_units = static_cast<uint32_t>(kv.kv_heads) * (k_units + v_units);
  const uint64_t units = static_cast<uint64_t>(k.rows) * row_units;
  if (units == 0) return;
  Launch(WriteKvKernel, dim3(static_cast<uint32_t>((units + kWarps - 1) / kWarps)), dim3(kWarps * 32), 0, stream, kv,
         step, k, v, k_units, row_units, units);
}

void CopyKvBlocks(const KvPlanes& kv, const int32_t* pairs, int64_t count, Stream stream) {
  const int64_t rows = kv.kv_heads * kv.block_tokens;
  CopyPlane(kv.k, rows * KvCodeBytes(kv.type, kv.k_width), pairs, count, stream);
  if (KvHasScales(kv.type)) CopyPlane(kv.k_scales, rows * KvScales(kv.k_width) * 2, pairs, count, stream);
  if (kv.v_is_k_prefix) return;
  CopyPlane(kv.v, rows * KvCodeBytes(kv.type, kv.v_width), pairs, count, stream);
  if (KvHasScales(kv.type)) CopyPlane(kv.v_scales, rows * KvScales(kv.v_width) * 2, pairs, count, stream);
}

}  // namespace barn::gpu
