#include "kernels/cuda/quantize.h"

#include "kernels/cuda/gpu.h"
#include "kernels/cuda/quantize_unit.h"

namespace barn::gpu {
namespace {

constexpr int kThreads = 256;
constexpr int kColumnsPerThread = 4;

__global__ void __launch_bounds__(kThreads)
    QuantizeKernel(const float* x, int64_t stride, uint32_t cols, uint64_t fours, bool aligned, int8_t* codes,
                   UnitScale* scales) {
  const uint64_t four = static_cast<uint64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const bool inside = four < fours;
  const uint32_t fours_per_row = cols / kColumnsPerThread;
  const uint64_t row = four / fours_per_row;
  const auto column = static_cast<uint32_t>(four - row * fours_per_row) * kColumnsPerThread;
  float values[4] = {0, 0, 0, 0};
  if (inside) {
    const float* from = x + static_cast<int64_t>(row) * stride + column;
    if (aligned) {
      const float4 loaded = Ld(reinterpret_cast<const float4*>(from));
      values[0] = loaded.x;
      values[1] = loaded.y;
      values[2] = loaded.z;
      values[3] = loaded.w;
    } else {
      BARN_UNROLL for (int i = 0; i < 4; ++i) values[i] = Ld(from + i);
    }
  }
  const QuantizedFour quantized = QuantizeUnit(values);
  if (!inside) return;
  St(reinterpret_cast<uint32_t*>(codes) + four, quantized.codes);
  if (threadIdx.x % 8 == 0) St(scales + four / 8, quantized.scale);
}

}  // namespace

void Quantize(const float* x, int64_t stride, const ActivationPlanes& out, Stream stream) {
  const auto fours = static_cast<uint64_t>(out.rows * out.cols / kColumnsPerThread);
  if (fours == 0) return;
  const bool aligned = reinterpret_cast<uintptr_t>(x) % 16 == 0 && stride % 4 == 0;
  Launch(QuantizeKernel, dim3(static_cast<uint32_t>((fours + kThreads - 1) / kThreads)), dim3(kThreads), 0, stream, x,
         stride, static_cast<uint32_t>(out.cols), fours, aligned, out.codes, out.scales);
}

}  // namespace barn::gpu
