#include "kernels/cuda/routed_rows.h"

#include "kernels/cuda/gpu.h"

namespace barn::gpu {
namespace {

constexpr int kThreads = 256;

// A thread takes a column of a row, row by row: neighbours read neighbouring floats.
struct Place {
  int64_t row;
  int64_t column;
  bool inside;
};
__device__ __forceinline__ Place FindPlace(const Rows& x) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t row = index / x.cols;
  return {row, index - row * x.cols, row < x.rows};
}

__global__ void __launch_bounds__(kThreads) SpreadKernel(Rows x, const float* weights, int64_t k, Rows out) {
  const Place at = FindPlace(out);
  if (!at.inside) return;
  St(out.data + at.row * out.stride + at.column, Ld(weights + at.row) * Ld(x.data + at.row / k * x.stride + at.column));
}

__global__ void __launch_bounds__(kThreads)
    SumKernel(Rows results, const int32_t* experts, const float* weights, int64_t k, Rows out) {
  const Place at = FindPlace(out);
  if (!at.inside) return;
  float sum = 0;
  for (int64_t p = at.row * k; p < (at.row + 1) * k; ++p) {
    if (Ld(experts + p) < 0) continue;
    sum = fmaf(weights == nullptr ? 1.0f : Ld(weights + p), Ld(results.data + p * results.stride + at.column), sum);
  }
  St(out.data + at.row * out.stride + at.column, sum);
}

__global__ void __launch_bounds__(kThreads) BiasKernel(Rows x, const float* bias, const int32_t* experts) {
  const Place at = FindPlace(x);
  if (!at.inside) return;
  const int32_t expert = Ld(experts + at.row);
  if (expert < 0) return;
  float* value = x.data + at.row * x.stride + at.column;
  St(value, LdStream(value) + Ld(bias + expert * x.cols + at.column));
}

template <class Kernel, class... Args>
void Run(Kernel kernel, const Rows& shape, Stream stream, Args... args) {
  const int64_t items = shape.rows * shape.cols;
  if (items == 0) return;
  Launch(kernel, dim3(static_cast<uint32_t>((items + kThreads - 1) / kThreads)), dim3(kThreads), 0, stream, args...);
}

}  // namespace

void SpreadRows(Rows x, const float* weights, int64_t k, Rows out, Stream stream) {
  Run(SpreadKernel, out, stream, x, weights, k, out);
}

void SumRows(Rows results, const int32_t* experts, const float* weights, int64_t k, Rows out, Stream stream) {
  Run(SumKernel, out, stream, results, experts, weights, k, out);
}

void AddExpertBias(Rows x, const float* bias, const int32_t* experts, Stream stream) {
  Run(BiasKernel, x, stream, x, bias, experts);
}

}  // namespace barn::gpu
