#include "kernels/cuda/float_matvec.h"

#include "kernels/check.h"
#include "kernels/cuda/gpu.h"
#include "kernels/cuda/plain_formats.h"
#include "kernels/cuda/row_access.h"

namespace barn::gpu {
namespace {

constexpr int kWarps = 4;
constexpr int kColumns = 4;  // Rows of x that share a read of the weight.

struct FloatParams {
  FloatMatVecArgs args;
  const int32_t* experts;  // Null: matrix 0 and kColumns rows of x to a block; else blockIdx.y is a pair.
  uint32_t pairs_per_row;
  bool wide;
};

// Four weights of a row, as floats, zeros behind its end.
template <class Element>
__device__ __forceinline__ Four LoadWeights(const typename Element::Stored* row, uint32_t k, uint32_t cols, bool wide) {
  using Stored = typename Element::Stored;
  Four four = {{0, 0, 0, 0}};
  if (wide) {
    if constexpr (sizeof(Stored) == 4) {
      const float4 loaded = LdStream(reinterpret_cast<const float4*>(row + k));
      return {{loaded.x, loaded.y, loaded.z, loaded.w}};
    } else {
      const uint2 loaded = LdStream(reinterpret_cast<const uint2*>(row + k));
      four.v[0] = Element::ToFloat(static_cast<Stored>(loaded.x & 0xffff));
      four.v[1] = Element::ToFloat(static_cast<Stored>(loaded.x >> 16));
      four.v[2] = Element::ToFloat(static_cast<Stored>(loaded.y & 0xffff));
      four.v[3] = Element::ToFloat(static_cast<Stored>(loaded.y >> 16));
      return four;
    }
  }
  BARN_UNROLL for (uint32_t i = 0; i < 4; ++i) {
    if (k + i < cols) four.v[i] = Element::ToFloat(LdStream(row + k + i));
  }
  return four;
}

// A warp takes a row of the weight. What is behind the last row or column computes it again and stores nothing.
template <class Element>
__global__ void __launch_bounds__(kWarps * 32) FloatMatVecKernel(FloatParams p) {
  const FloatMatVecArgs& a = p.args;
  const uint32_t lane = threadIdx.x % 32;
  const uint32_t wanted = blockIdx.x * kWarps + threadIdx.x / 32;
  const auto rows = static_cast<uint32_t>(a.weight.rows);
  const uint32_t row = min(wanted, rows - 1);
  const bool routed = p.experts != nullptr;
  const int expert = routed ? Ld(p.experts + blockIdx.y) : 0;
  const auto cols = expert < 0 ? 0 : static_cast<uint32_t>(a.weight.cols);
  const int64_t matrix_row = (expert < 0 ? 0 : static_cast<int64_t>(expert)) * rows + row;
  const auto* weights =
      reinterpret_cast<const typename Element::Stored*>(a.weight.planes[0]) + matrix_row * a.weight.cols;
  const int64_t first = routed ? blockIdx.y / p.pairs_per_row : static_cast<int64_t>(blockIdx.y) * kColumns;
  const int64_t columns = routed ? 1 : min(static_cast<int64_t>(kColumns), a.x.rows - first);
  float sums[kColumns] = {0, 0, 0, 0};
  for (uint32_t k = lane * 4; k < cols; k += 128) {
    const Four w = LoadWeights<Element>(weights, k, cols, p.wide);
    BARN_UNROLL for (int c = 0; c < kColumns; ++c) {
      if (c >= columns) break;
      const Four x = LoadFour(a.x.data + (first + c) * a.x.stride, k, cols, p.wide);
      BARN_UNROLL for (int i = 0; i < 4; ++i) sums[c] = fmaf(w.v[i], x.v[i], sums[c]);
    }
  }
  BARN_UNROLL for (int c = 0; c < kColumns; ++c) {
    float sum = WarpSum(sums[c]);
    if (lane != 0 || c >= columns || wanted >= rows) continue;
    if (a.bias != nullptr && expert >= 0) sum += Ld(a.bias + matrix_row);
    const int64_t out_row = routed ? static_cast<int64_t>(blockIdx.y) : first + c;
    St(a.out.data + out_row * a.out.stride + row, sum);
  }
}

FloatParams MakeParams(const FloatMatVecArgs& args) {
  BARN_CHECK(args.x.cols == args.weight.cols && args.weight.rows > 0);
  // Rows of a plane start where the one before ends.
  return {args, nullptr, 1, IsWide(args.x)};
}

void Run(const FloatParams& params, int64_t blocks_y, Stream stream) {
  const dim3 grid(static_cast<uint32_t>((params.args.weight.rows + kWarps - 1) / kWarps),
                  static_cast<uint32_t>(blocks_y));
  DispatchPlain(params.args.weight.dtype, [&](auto element) {
    Launch(FloatMatVecKernel<decltype(element)>, grid, dim3(kWarps * 32), 0, stream, params);
  });
}

constexpr int64_t kGridRowsMax = 65535;

}  // namespace

void FloatMatVec(const FloatMatVecArgs& args, Stream stream) {
  FloatParams params = MakeParams(args);
  constexpr int64_t kStep = kGridRowsMax * kColumns;
  for (int64_t at = 0; at < args.x.rows; at += kStep) {
    params.args.x.data = args.x.data + at * args.x.stride;
    params.args.out.data = args.out.data + at * args.out.stride;
    params.args.x.rows = args.x.rows - at < kStep ? args.x.rows - at : kStep;
    Run(params, (params.args.x.rows + kColumns - 1) / kColumns, stream);
  }
}

void RoutedFloatMatVec(const FloatMatVecArgs& args, const int32_t* experts, int64_t pairs, int64_t pairs_per_row,
                       Stream stream) {
  BARN_CHECK(pairs_per_row >= 1 && pairs_per_row <= kGridRowsMax && args.x.rows * pairs_per_row >= pairs);
  FloatParams params = MakeParams(args);
  params.pairs_per_row = static_cast<uint32_t>(pairs_per_row);
  const int64_t step = kGridRowsMax / pairs_per_row * pairs_per_row;  // Whole rows of x.
  for (int64_t at = 0; at < pairs; at += step) {
    params.experts = experts + at;
    params.args.x.data = args.x.data + at / pairs_per_row * args.x.stride;
    params.args.out.data = args.out.data + at * args.out.stride;
    Run(params, pairs - at < step ? pairs - at : step, stream);
  }
}

}  // namespace barn::gpu
