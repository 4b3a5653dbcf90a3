#include "kernels/cpu/rope.h"

#include "kernels/check.h"
#include "kernels/cpu/float_kernels.h"

namespace barn {

void RopeRows(Isa isa, const RopeArgs& args, int64_t row_begin, int64_t row_end) {
  BARN_CHECK(args.x.cols == args.heads * args.head_width);
  BARN_CHECK(args.width % 2 == 0 && args.offset >= 0 && args.offset + args.width <= args.head_width);
  BARN_CHECK(static_cast<int64_t>(args.positions.size()) == args.x.rows);
  BARN_CHECK(static_cast<int64_t>(args.inverse_frequencies.size()) == args.width / 2);
  const FloatKernels& kernels = FloatKernelsFor(isa);
  for (int64_t r = row_begin; r < row_end; ++r) {
    kernels.rope({.x = args.x.row(r),
                  .heads = args.heads,
                  .head_width = args.head_width,
                  .offset = args.offset,
                  .width = args.width,
                  .neighbours = args.pairs == RopePairs::kNeighbours,
                  .position = args.positions[r],
                  .inverse_frequencies = args.inverse_frequencies.data(),
                  .magnitude = args.magnitude});
  }
}

}  // namespace barn
