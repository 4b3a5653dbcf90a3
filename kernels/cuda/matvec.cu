#include "kernels/cuda/matvec.h"

#include "kernels/check.h"
#include "kernels/cuda/matvec_kernel.h"
#include "kernels/cuda/product_params.h"
#include "kernels/cuda/weight_dispatch.h"

namespace barn::gpu {

// Compiled in matvec_*.cu.
#define BARN_ELSEWHERE(name) extern template void RunMatVec<Format##name>(MatVecParams, uint32_t, Stream);
BARN_ALL_FORMATS(BARN_ELSEWHERE)
#undef BARN_ELSEWHERE

namespace {

MatVecParams MakeParams(const MatVecArgs& args) {
  auto params = MakeProductParams<MatVecParams>(args);
  params.columns = 1;
  return params;
}

}  // namespace

void MatVec(const MatVecArgs& args, Stream stream) {
  BARN_CHECK(args.x.rows >= 1 && args.x.rows <= kMatVecColumnsMax);
  MatVecParams params = MakeParams(args);
  params.columns = static_cast<uint32_t>(args.x.rows);
  DispatchFormat(args.weight.dtype, [&](auto format) { RunMatVec<decltype(format)>(params, 1, stream); });
}

void RoutedMatVec(const MatVecArgs& args, const int32_t* experts, int64_t pairs, int64_t pairs_per_row, Stream stream) {
  BARN_CHECK(experts != nullptr && pairs >= 1 && args.x.rows * pairs_per_row >= pairs);
  MatVecParams params = MakeParams(args);
  params.experts = experts;
  params.pairs_per_row = static_cast<uint32_t>(pairs_per_row);
  // A grid has at most 65535 rows of blocks; whole tokens at a time.
  const int64_t step = 65535 / pairs_per_row * pairs_per_row;
  for (int64_t at = 0; at < pairs; at += step) {
    MatVecParams part = params;
    part.experts += at;
    part.codes += at / pairs_per_row * args.x.cols;
    part.scales += at / pairs_per_row * (args.x.cols / kUnitColumns);
    part.out += at * args.out_stride;
    const auto count = static_cast<uint32_t>(pairs - at < step ? pairs - at : step);
    DispatchFormat(args.weight.dtype, [&](auto format) { RunMatVec<decltype(format)>(part, count, stream); });
  }
}

}  // namespace barn::gpu
