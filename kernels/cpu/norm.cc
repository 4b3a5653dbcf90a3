#include "kernels/cpu/norm.h"

#include "kernels/check.h"
#include "kernels/cpu/float_kernels.h"

namespace barn {

void RmsNormRows(Isa isa, Tensor x, const float* weight, float eps, Tensor out, int64_t row_begin, int64_t row_end) {
  BARN_CHECK(x.rows == out.rows && x.cols == out.cols);
  const FloatKernels& kernels = FloatKernelsFor(isa);
  for (int64_t r = row_begin; r < row_end; ++r) kernels.rms_norm(x.row(r), weight, eps, out.row(r), x.cols);
}

void LayerNormRows(Isa isa, Tensor x, const float* weight, const float* bias, float eps, Tensor out, int64_t row_begin,
                   int64_t row_end) {
  BARN_CHECK(x.rows == out.rows && x.cols == out.cols);
  const FloatKernels& kernels = FloatKernelsFor(isa);
  for (int64_t r = row_begin; r < row_end; ++r) kernels.layer_norm(x.row(r), weight, bias, eps, out.row(r), x.cols);
}

}  // namespace barn
