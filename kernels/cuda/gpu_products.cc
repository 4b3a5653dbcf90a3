#include <algorithm>
#include <optional>
#include <vector>

#include "kernels/check.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/float_matvec.h"
#include "kernels/cuda/gpu_device.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/matvec.h"
#include "kernels/cuda/quantize.h"
#include "kernels/cuda/routed_rows.h"

// Products with weights, of GpuDevice.
namespace barn {
namespace {

gpu::Rows RowsOf(Tensor x) { return {.data = x.data, .rows = x.rows, .cols = x.cols, .stride = x.stride}; }

gpu::Rows Columns(gpu::Rows x, int64_t first, int64_t cols) {
  return {.data = x.data + first, .rows = x.rows, .cols = cols, .stride = x.stride};
}

const GpuMatrix& Gpu(const Matrix* matrix) { return static_cast<const GpuMatrix&>(*matrix); }

bool UsesInt8(const GpuMatrix& matrix) {
  const DType dtype = matrix.view().dtype;
  return dtype != DType::kF32 && dtype != DType::kF16 && dtype != DType::kBF16;
}

gpu::Gate GateOf(Activation activation) {
  switch (activation) {
    case Activation::kSilu:
      return gpu::Gate::kSilu;
    case Activation::kGeluTanh:
      return gpu::Gate::kGeluTanh;
    case Activation::kGeluErf:
      return gpu::Gate::kGeluErf;
    case Activation::kClampedSwiglu:
      return gpu::Gate::kClampedSwiglu;
  }
  return gpu::Gate::kSilu;
}

}  // namespace

gpu::ActivationPlanes GpuDevice::Quantized(gpu::Rows x) {
  gpu::ActivationPlanes planes = {.rows = x.rows, .cols = x.cols};
  planes.codes = Grow<int8_t>(codes_, x.rows * x.cols);
  planes.scales = Grow<gpu::UnitScale>(unit_scales_, x.rows * x.cols / gpu::kUnitColumns);
  if (Ready()) gpu::Quantize(x.data, x.stride, planes, stream_);
  return planes;
}

void GpuDevice::Multiply(const GpuMatrix& weight, const float* bias, gpu::Rows x, const gpu::ActivationPlanes& planes,
                         gpu::Rows out) {
  BARN_CHECK(weight.shape().count == 1 && weight.shape().rows == out.cols && weight.shape().cols == x.cols);
  if (!Ready()) return;
  counters_.matmul_bytes_read += weight.expert_bytes();
  if (!UsesInt8(weight)) {
    gpu::FloatMatVec({.weight = weight.view(), .x = x, .out = out, .bias = bias}, stream_);
    return;
  }
  gpu::MatMul({.weight = weight.view(), .x = planes, .out = out.data, .out_stride = out.stride, .bias = bias}, stream_);
}

void GpuDevice::MatMul(std::span<const Projection> projections, Tensor x) {
  if (x.rows == 0) return;
  const bool any_int8 = std::any_of(projections.begin(), projections.end(),
                                    [](const Projection& projection) { return UsesInt8(Gpu(projection.weight)); });
  gpu::ActivationPlanes planes;
  if (any_int8) planes = Quantized(RowsOf(x));
  for (const Projection& projection : projections) {
    Multiply(Gpu(projection.weight), projection.bias, RowsOf(x), planes, RowsOf(projection.out));
  }
}

void GpuDevice::MatMulExact(const Projection& projection, Tensor x) {
  BARN_CHECK(!UsesInt8(Gpu(projection.weight)));
  if (x.rows > 0) Multiply(Gpu(projection.weight), projection.bias, RowsOf(x), {}, RowsOf(projection.out));
}

void GpuDevice::MultiplyRouted(const GpuMatrix& weight, const float* bias, gpu::Rows x,
                               const gpu::ActivationPlanes& planes, const Pairs& pairs, int64_t pairs_per_row,
                               gpu::Rows out) {
  if (!Ready()) return;
  if (!UsesInt8(weight)) {
    gpu::RoutedFloatMatVec({.weight = weight.view(), .x = x, .out = out, .bias = bias}, pairs.experts, pairs.count,
                           pairs_per_row, stream_);
    return;
  }
  const gpu::MatVecArgs args = {
      .weight = weight.view(), .x = planes, .out = out.data, .out_stride = out.stride, .bias = bias};
  if (pairs.sorted) {
    gpu::RoutedMatMul(args, *pairs.sorted, pairs_per_row, stream_);
  } else {
    gpu::RoutedMatVec(args, pairs.experts, pairs.count, pairs_per_row, stream_);
  }
}

// Where tokens are many, so that each expert's weights are read for a tile of them at a time.
void GpuDevice::SortPairs(Pairs& pairs, int64_t tokens, int64_t experts) {
  if (tokens <= gpu::kMatVecColumnsMax || experts > gpu::kRouteExpertsMax || !Ready()) return;
  gpu::SortedRoutes sorted;
  sorted.experts = experts;
  sorted.pair_count = pairs.count;
  sorted.tile_pairs = gpu::RoutedTilePairs(pairs.count, experts);
  sorted.tiles = Grow<gpu::RouteTile>(route_tiles_, gpu::MaxRouteTiles(pairs.count, experts, sorted.tile_pairs));
  sorted.pairs = Grow<int32_t>(route_pairs_, pairs.count);
  sorted.bounds = Grow<int32_t>(route_bounds_, experts + 1);
  if (!Ready()) return;
  gpu::SortRoutes(pairs.experts, sorted, stream_);
  pairs.sorted = sorted;
}

// A head of a token is a pair of a row of its own and the matrix of the head.
void GpuDevice::BatchedMatMul(const Matrix& matrix, Tensor x, Tensor out) {
  const GpuMatrix& weight = Gpu(&matrix);
  const MatrixShape shape = weight.shape();
  BARN_CHECK(x.cols == shape.count * shape.cols && out.cols == shape.count * shape.rows && x.rows == out.rows);
  BARN_CHECK(x.stride == x.cols && out.stride == out.cols);
  if (x.rows == 0 || !Ready()) return;
  const int64_t pairs = x.rows * shape.count;
  std::vector<int32_t> heads(static_cast<size_t>(pairs));
  for (int64_t p = 0; p < pairs; ++p) heads[static_cast<size_t>(p)] = static_cast<int32_t>(p % shape.count);
  const Pairs by_head = {.experts = staged_.Put(std::span<const int32_t>(heads)), .count = pairs};
  const gpu::Rows x_heads = {.data = x.data, .rows = pairs, .cols = shape.cols, .stride = shape.cols};
  const gpu::Rows out_heads = {.data = out.data, .rows = pairs, .cols = shape.rows, .stride = shape.rows};
  gpu::ActivationPlanes planes;
  if (UsesInt8(weight)) planes = Quantized(x_heads);
  MultiplyRouted(weight, nullptr, x_heads, planes, by_head, 1, out_heads);
  counters_.matmul_bytes_read += shape.count * weight.expert_bytes();
}

GpuDevice::Hidden GpuDevice::HiddenOf(const ExpertMatrices& experts, int64_t pairs, int64_t ff) {
  const bool shared = experts.complete_hidden != nullptr;
  const int64_t stride = shared ? ff : 2 * ff;
  const int64_t mine = shared ? Gpu(experts.gate).shape().rows : ff;
  BARN_CHECK(experts.first_hidden >= 0 && experts.first_hidden + mine <= ff);
  float* const data = Grow<float>(hidden_, pairs * stride);
  float* const apart = shared ? Grow<float>(up_, pairs * mine) : nullptr;
  if (data == nullptr || (shared && apart == nullptr)) return {};
  Hidden hidden = {.all = {.data = data, .rows = pairs, .cols = ff, .stride = stride}};
  hidden.gate = Columns(hidden.all, experts.first_hidden, mine);
  hidden.up = {.data = data + ff, .rows = pairs, .cols = ff, .stride = stride};
  if (shared) hidden.up = {.data = apart, .rows = pairs, .cols = mine, .stride = mine};
  return hidden;
}

void GpuDevice::RunExperts(const ExpertMatrices& experts, const Pairs& pairs, gpu::Rows x, int64_t pairs_per_row,
                           const Hidden& hidden) {
  const gpu::Rows gate = hidden.gate, up = hidden.up;
  const auto int8 = [](const Matrix* matrix) { return matrix != nullptr && UsesInt8(Gpu(matrix)); };
  gpu::ActivationPlanes planes;
  if (int8(experts.gate_up) || int8(experts.gate) || int8(experts.up)) planes = Quantized(x);
  const auto run = [&](const Matrix* matrix, const float* bias, gpu::Rows out) {
    BARN_CHECK(Gpu(matrix).shape().rows == out.cols && Gpu(matrix).shape().cols == x.cols);
    MultiplyRouted(Gpu(matrix), bias, x, planes, pairs, pairs_per_row, out);
  };
  if (experts.gate_up == nullptr) {
    run(experts.gate, experts.gate_bias, gate);
    run(experts.up, experts.up_bias, up);
  } else {
    run(experts.gate_up, nullptr, {.data = gate.data, .rows = gate.rows, .cols = 2 * gate.cols, .stride = gate.stride});
    if (Ready() && experts.gate_bias != nullptr) gpu::AddExpertBias(gate, experts.gate_bias, pairs.experts, stream_);
    if (Ready() && experts.up_bias != nullptr) gpu::AddExpertBias(up, experts.up_bias, pairs.experts, stream_);
  }
  if (Ready()) gpu::GatedActivation(GateOf(experts.activation), gate, up, stream_);
}

void GpuDevice::RoutedFfn(const ExpertMatrices& experts, const Routes& routes, Tensor x, Tensor out) {
  const GpuMatrix& down = Gpu(experts.down);
  BARN_CHECK(down.shape().rows == out.cols && out.rows == x.rows);
  Pairs pairs = {.count = x.rows * routes.k, .each = routes.k};
  BARN_CHECK(static_cast<int64_t>(routes.experts.size()) == pairs.count &&
             static_cast<int64_t>(routes.weights.size()) == pairs.count);
  for (const int32_t expert : routes.experts) BARN_CHECK(expert < down.shape().count);
  if (pairs.count == 0 || !Ready()) return;
  pairs.experts = staged_.Put(routes.experts);
  pairs.weights = staged_.Put(routes.weights);
  SortPairs(pairs, x.rows, down.shape().count);
  const int64_t ff = down.shape().cols;
  gpu::Rows rows = RowsOf(x);
  int64_t pairs_per_row = pairs.each;
  if (experts.weight_scales_input) {
    rows = {.data = Grow<float>(spread_, pairs.count * x.cols), .rows = pairs.count, .cols = x.cols, .stride = x.cols};
    pairs_per_row = 1;
    if (Ready()) gpu::SpreadRows(RowsOf(x), pairs.weights, pairs.each, rows, stream_);
  }
  const Hidden hidden = HiddenOf(experts, pairs.count, ff);
  const gpu::Rows results = {
      .data = Grow<float>(results_, pairs.count * out.cols), .rows = pairs.count, .cols = out.cols, .stride = out.cols};
  if (!Ready()) return;
  RunExperts(experts, pairs, rows, pairs_per_row, hidden);
  if (experts.complete_hidden != nullptr) {
    experts.complete_hidden(
        {.data = hidden.all.data, .rows = hidden.all.rows, .cols = ff, .stride = hidden.all.stride});
  }
  gpu::ActivationPlanes planes;
  if (UsesInt8(down)) planes = Quantized(hidden.all);
  MultiplyRouted(down, experts.down_bias, hidden.all, planes, pairs, 1, results);
  if (!Ready()) return;
  gpu::SumRows(results, pairs.experts, experts.weight_scales_input ? nullptr : pairs.weights, pairs.each, RowsOf(out),
               stream_);
  CountExperts(experts, routes);
}

void GpuDevice::CountExperts(const ExpertMatrices& experts, const Routes& routes) {
  std::vector<bool> seen(static_cast<size_t>(Gpu(experts.down).shape().count));
  int64_t touched = 0;
  for (const int32_t expert : routes.experts) {
    if (expert < 0 || seen[static_cast<size_t>(expert)]) continue;
    seen[static_cast<size_t>(expert)] = true;
    ++touched;
  }
  counters_.experts_read += 3 * touched;
  for (const Matrix* matrix : {experts.gate, experts.up, experts.gate_up, experts.down}) {
    if (matrix != nullptr) counters_.expert_bytes_read += touched * Gpu(matrix).expert_bytes();
  }
}

void GpuDevice::GatedActivation(Activation activation, Tensor gate, Tensor up) {
  if (Ready()) gpu::GatedActivation(GateOf(activation), RowsOf(gate), RowsOf(up), stream_);
}

}  // namespace barn
