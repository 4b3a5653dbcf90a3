#include "kernels/cuda/norm.h"

#include "kernels/cuda/gpu.h"
#include "kernels/cuda/row_access.h"

namespace barn::gpu {
namespace {

constexpr int kWarps = 8;
constexpr int64_t kOneWarpCols = 512;  // So many fit four rounds of a warp: heads, and rows of small models.

struct NormParams {
  NormArgs args;
  bool wide;
};

// Over the threads of a row.
template <int kRowWarps>
__device__ __forceinline__ float RowSum(float value BARN_SITE_PARAM) {
  value = WarpSum(value BARN_SITE);
  if constexpr (kRowWarps > 1) {
    BARN_SHARED(float, sums, [kRowWarps]);
    __syncthreads();  // The sums of the pass before have been read.
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = value;
    __syncthreads();
    value = 0;
    BARN_UNROLL for (int w = 0; w < kRowWarps; ++w) value += sums[w];
  }
  return value;
}

// kRowWarps of the block's warps share a row. What is behind the last row computes it again and stores nothing.
template <int kRowWarps>
__global__ void __launch_bounds__(kWarps * 32) NormKernel(NormParams p) {
  constexpr uint32_t kStep = kRowWarps * 32 * 4;
  const NormArgs& a = p.args;
  const uint32_t wanted = blockIdx.x * (kWarps / kRowWarps) + threadIdx.x / (kRowWarps * 32);
  const bool inside = wanted < a.x.rows;
  const int64_t row = inside ? wanted : a.x.rows - 1;
  const uint32_t first = threadIdx.x % (kRowWarps * 32) * 4;
  const auto cols = static_cast<uint32_t>(a.x.cols);
  float* x = a.x.data + row * a.x.stride;
  float sum = 0;
  float squares = 0;
  for (uint32_t c = first; c < cols; c += kStep) {
    Four four = LoadFour(x, c, cols, p.wide);
    if (a.add.data != nullptr && inside) {
      const Four add = LoadFour(a.add.data + row * a.add.stride, c, cols, p.wide);
      BARN_UNROLL for (int i = 0; i < 4; ++i) four.v[i] += add.v[i];
      StoreFour(x, c, cols, p.wide, four);
    }
    BARN_UNROLL for (int i = 0; i < 4; ++i) {
      sum += four.v[i];
      squares = fmaf(four.v[i], four.v[i], squares);
    }
  }
  const float count = static_cast<float>(cols);
  float mean = 0;
  if (a.subtract_mean) {
    mean = RowSum<kRowWarps>(sum) / count;
    squares = 0;
    for (uint32_t c = first; c < cols; c += kStep) {
      const Four four = LoadFour(x, c, cols, p.wide);
      BARN_UNROLL for (uint32_t i = 0; i < 4; ++i) {
        const float distance = c + i < cols ? four.v[i] - mean : 0.0f;
        squares = fmaf(distance, distance, squares);
      }
    }
  }
  const float scale = 1.0f / sqrtf(RowSum<kRowWarps>(squares) / count + a.epsilon);
  if (!inside) return;
  for (uint32_t c = first; c < cols; c += kStep) {
    Four four = LoadFour(x, c, cols, p.wide);
    const Four ones = {{1, 1, 1, 1}};
    const Four weight = a.weight != nullptr ? LoadFour(a.weight, c, cols, p.wide) : ones;
    const Four zeros = {{0, 0, 0, 0}};
    const Four bias = a.bias != nullptr ? LoadFour(a.bias, c, cols, p.wide) : zeros;
    BARN_UNROLL for (int i = 0; i < 4; ++i) { four.v[i] = fmaf((four.v[i] - mean) * scale, weight.v[i], bias.v[i]); }
    StoreFour(a.out.data + row * a.out.stride, c, cols, p.wide, four);
  }
}

}  // namespace

void Norm(const NormArgs& args, Stream stream) {
  if (args.x.rows == 0 || args.x.cols == 0) return;
  const auto aligned = [](const float* vector) { return reinterpret_cast<uintptr_t>(vector) % 16 == 0; };
  const bool wide = IsWide(args.x) && IsWide(args.out) && (args.add.data == nullptr || IsWide(args.add)) &&
                    aligned(args.weight) && aligned(args.bias);
  const NormParams params = {args, wide};
  const auto rows = static_cast<uint32_t>(args.x.rows);
  if (args.x.cols <= kOneWarpCols) {
    Launch(NormKernel<1>, dim3((rows + kWarps - 1) / kWarps), dim3(kWarps * 32), 0, stream, params);
  } else {
    Launch(NormKernel<kWarps>, dim3(rows), dim3(kWarps * 32), 0, stream, params);
  }
}

}  // namespace barn::gpu
