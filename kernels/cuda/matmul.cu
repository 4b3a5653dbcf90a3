#include "kernels/cuda/matmul.h"

#include "kernels/check.h"
#include "kernels/cuda/matmul_kernel.h"
#include "kernels/cuda/product_params.h"
#include "kernels/cuda/weight_dispatch.h"

namespace barn::gpu {

// Compiled in matmul_*.cu.
#define BARN_ELSEWHERE(name) extern template void RunMatMul<Format##name>(const MatMulParams&, int, uint32_t, Stream);
BARN_ALL_FORMATS(BARN_ELSEWHERE)
#undef BARN_ELSEWHERE

namespace {

constexpr int64_t kGridRowsMax = 65535;

MatMulParams MakeParams(const MatVecArgs& args) {
  auto params = MakeProductParams<MatMulParams>(args);
  params.tokens = static_cast<uint32_t>(args.x.rows);
  return params;
}

}  // namespace

void MatMul(const MatVecArgs& args, Stream stream) {
  if (args.x.rows <= kMatVecColumnsMax) return MatVec(args, stream);
  const int tile_tokens = args.x.rows <= 16 ? 16 : 64;
  const int64_t tiles = (args.x.rows + tile_tokens - 1) / tile_tokens;
  BARN_CHECK(tiles <= kGridRowsMax);
  const MatMulParams params = MakeParams(args);
  DispatchFormat(args.weight.dtype, [&](auto format) {
    RunMatMul<decltype(format)>(params, tile_tokens, static_cast<uint32_t>(tiles), stream);
  });
}

int64_t RoutedTilePairs(int64_t pairs, int64_t experts) { return pairs <= 16 * experts ? 16 : 64; }

void RoutedMatMul(const MatVecArgs& args, const SortedRoutes& routes, int64_t pairs_per_row, Stream stream) {
  BARN_CHECK(routes.experts == args.weight.count && (routes.tile_pairs == 16 || routes.tile_pairs == 64));
  BARN_CHECK(args.x.rows * pairs_per_row >= routes.pair_count);
  MatMulParams params = MakeParams(args);
  params.pairs = routes.pairs;
  params.pairs_per_row = static_cast<uint32_t>(pairs_per_row);
  const int64_t tiles = MaxRouteTiles(routes.pair_count, routes.experts, routes.tile_pairs);
  for (int64_t at = 0; at < tiles; at += kGridRowsMax) {
    params.tiles = reinterpret_cast<const int4*>(routes.tiles) + at;
    const auto count = static_cast<uint32_t>(tiles - at < kGridRowsMax ? tiles - at : kGridRowsMax);
    DispatchFormat(args.weight.dtype, [&](auto format) {
      RunMatMul<decltype(format)>(params, static_cast<int>(routes.tile_pairs), count, stream);
    });
  }
}

}  // namespace barn::gpu
