#include "kernels/cpu/elementwise.h"

#include "kernels/check.h"
#include "kernels/cpu/float_kernels.h"

namespace barn {
namespace {

bool SameShape(const Tensor& x, const Tensor& y) { return x.rows == y.rows && x.cols == y.cols; }

}  // namespace

void GatedActivationRows(Isa isa, Activation activation, Tensor gate, Tensor up, int64_t row_begin, int64_t row_end) {
  BARN_CHECK(SameShape(gate, up));
  const FloatKernels& kernels = FloatKernelsFor(isa);
  const auto apply = activation == Activation::kSilu       ? kernels.silu_mul
                     : activation == Activation::kGeluTanh ? kernels.gelu_mul
                     : activation == Activation::kGeluErf  ? kernels.gelu_erf_mul
                                                           : kernels.clamped_swiglu;
  for (int64_t r = row_begin; r < row_end; ++r) apply(gate.row(r), up.row(r), gate.cols);
}

void GeluRows(Isa isa, Activation form, Tensor x, int64_t row_begin, int64_t row_end) {
  BARN_CHECK(form == Activation::kGeluTanh || form == Activation::kGeluErf);
  const FloatKernels& kernels = FloatKernelsFor(isa);
  const auto apply = form == Activation::kGeluTanh ? kernels.gelu : kernels.gelu_erf;
  for (int64_t r = row_begin; r < row_end; ++r) apply(x.row(r), x.cols);
}

void AddRows(Isa isa, Tensor x, Tensor y, int64_t row_begin, int64_t row_end) {
  BARN_CHECK(SameShape(x, y));
  const FloatKernels& kernels = FloatKernelsFor(isa);
  for (int64_t r = row_begin; r < row_end; ++r) kernels.add(x.row(r), y.row(r), x.cols);
}

void AddScaledRows(Isa isa, Tensor x, Tensor y, float scale, int64_t row_begin, int64_t row_end) {
  BARN_CHECK(SameShape(x, y));
  const FloatKernels& kernels = FloatKernelsFor(isa);
  for (int64_t r = row_begin; r < row_end; ++r) kernels.add_scaled(x.row(r), y.row(r), scale, x.cols);
}

void ScaleAllRows(Isa isa, Tensor x, float scale, int64_t row_begin, int64_t row_end) {
  const FloatKernels& kernels = FloatKernelsFor(isa);
  for (int64_t r = row_begin; r < row_end; ++r) kernels.scale(x.row(r), scale, x.cols);
}

void ScaleEachRow(Isa isa, Tensor x, std::span<const float> scales, int64_t row_begin, int64_t row_end) {
  BARN_CHECK(static_cast<int64_t>(scales.size()) == x.rows);
  const FloatKernels& kernels = FloatKernelsFor(isa);
  for (int64_t r = row_begin; r < row_end; ++r) kernels.scale(x.row(r), scales[r], x.cols);
}

void SoftcapRows(Isa isa, Tensor x, float cap, int64_t row_begin, int64_t row_end) {
  BARN_CHECK(cap > 0);
  const FloatKernels& kernels = FloatKernelsFor(isa);
  for (int64_t r = row_begin; r < row_end; ++r) kernels.softcap(x.row(r), cap, x.cols);
}

}  // namespace barn
