#include "kernels/cpu/routed_ffn.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/check.h"
#include "kernels/cpu/elementwise.h"

namespace barn {
namespace {

constexpr int64_t kTileRows = 16;  // Weight rows that a thread takes at a time: the widest panel.

const CpuMatrix* Cpu(const Matrix* matrix) { return static_cast<const CpuMatrix*>(matrix); }

}  // namespace

void RoutedFfn::Run(const ExpertMatrices& experts, const Routes& routes, Tensor x, Tensor out,
                    DeviceCounters& counters) {
  const CpuMatrix& down = *Cpu(experts.down);
  const int64_t ff = down.shape().cols;
  BARN_CHECK(down.shape().rows == out.cols && out.rows == x.rows);
  const bool fused = experts.gate_up != nullptr;
  const bool shared = experts.complete_hidden != nullptr;
  const int64_t local_ff = shared ? experts.gate->shape().rows : ff;  // Hidden values that this rank computes.
  const int64_t first_hidden = shared ? experts.first_hidden : 0;
  const int64_t stride = ff + local_ff;
  const Half halves[] = {
      {.matrix = Cpu(fused ? experts.gate_up : experts.gate), .bias = experts.gate_bias, .first_col = first_hidden},
      {.matrix = Cpu(fused ? experts.gate_up : experts.up),
       .first_row = fused ? ff : 0,
       .bias = experts.up_bias,
       .first_col = ff},
  };
  BARN_CHECK(!shared || (!fused && first_hidden >= 0 && first_hidden + local_ff <= ff));
  for (const Half& half : halves) {
    BARN_CHECK(half.matrix->shape().rows == (fused ? 2 * ff : local_ff) && half.matrix->shape().cols == x.cols);
  }
  GroupPairs(routes, x.rows, down.shape().count);
  const CpuMatrix* const matrices[] = {halves[0].matrix, halves[1].matrix, &down};
  PackExperts(matrices);
  const auto pairs = static_cast<int64_t>(pair_token_.size());
  SpanSet input_spans, hidden_spans;
  for (const Half& half : halves) half.matrix->AddSpan(input_spans);
  down.AddSpan(hidden_spans);
  const CpuMatrix::Input input = PrepareInput(routes, x, experts.weight_scales_input, input_spans);

  float* memory = hidden_.Get<float>(static_cast<size_t>(pairs * stride));
  const Tensor hidden = {.data = memory, .rows = pairs, .cols = ff, .stride = stride};
  PlanReadAhead(down, x.rows);
  RunGateAndUp(halves, local_ff, input, hidden);
  const Tensor gate = {.data = memory + first_hidden, .rows = pairs, .cols = local_ff, .stride = stride};
  const Tensor up = {.data = memory + ff, .rows = pairs, .cols = local_ff, .stride = stride};
  hidden_rows_.Resize(hidden_spans, pairs, ff);
  Activate(experts.activation, gate, up, shared ? SpanSet() : hidden_spans, hidden);
  if (shared) {
    experts.complete_hidden(hidden);
    QuantizeHidden(hidden_spans, hidden);
  }
  if (!hidden_spans.empty()) MakeTiles(hidden_rows_, nullptr);
  pool_.read_ahead().PlanNext(x.rows <= ReadAhead::kRowsMax ? ReadAhead::kGapBytes : 0);
  float* results = results_.Get<float>(static_cast<size_t>(pairs * out.cols));
  RunDown(down, experts.down_bias, hidden, results);
  AddUp(routes, experts.weight_scales_input, results, out);

  const auto touched = static_cast<int64_t>(groups_.size());
  counters.experts_read += 3 * touched;
  counters.expert_bytes_read += touched * down.expert_bytes();
  for (const Half& half : halves) counters.expert_bytes_read += touched * local_ff * half.matrix->row_bytes();
}

// Counting sort by expert; within an expert pairs stay in order of tokens.
void RoutedFfn::GroupPairs(const Routes& routes, int64_t tokens, int64_t expert_count) {
  const auto route_count = static_cast<size_t>(tokens * routes.k);
  BARN_CHECK(routes.experts.size() == route_count && routes.weights.size() == route_count);
  expert_counts_.assign(static_cast<size_t>(expert_count) + 1, 0);
  for (int32_t expert : routes.experts) {
    BARN_CHECK(expert < expert_count);
    if (expert >= 0) ++expert_counts_[expert + 1];
  }
  groups_.clear();
  for (int64_t e = 0; e < expert_count; ++e) {
    const int64_t pairs = expert_counts_[e + 1];
    if (pairs > 0) groups_.push_back({.expert = e, .first_pair = expert_counts_[e], .pairs = pairs});
    expert_counts_[e + 1] += expert_counts_[e];
  }
  pair_token_.resize(expert_counts_[expert_count]);
  pair_route_.resize(pair_token_.size());
  pair_of_route_.assign(route_count, -1);
  for (size_t i = 0; i < route_count; ++i) {
    const int32_t expert = routes.experts[i];
    if (expert < 0) continue;
    const int64_t pair = expert_counts_[expert]++;
    pair_token_[pair] = static_cast<int32_t>(i / routes.k);
    pair_route_[pair] = static_cast<int32_t>(i);
    pair_of_route_[i] = static_cast<int32_t>(pair);
  }
}

// Repacks the routed experts that no token has used before.
void RoutedFfn::PackExperts(std::span<const CpuMatrix* const> matrices) {
  packing_.clear();
  int64_t items = 0;
  for (size_t m = 0; m < matrices.size(); ++m) {
    if (m > 0 && matrices[m] == matrices[m - 1]) continue;  // Gate and up in one.
    for (const Group& group : groups_) {
      const int64_t panels = matrices[m]->PanelsToPack(group.expert);
      if (panels > 0) packing_.push_back({matrices[m], group.expert, items});
      items += panels;
    }
  }
  if (items == 0) return;
  pool_.ParallelFor(items, [&](int64_t begin, int64_t end, int) {
    auto at = std::upper_bound(packing_.begin(), packing_.end(), begin,
                               [](int64_t item, const Packing& packing) { return item < packing.first_item; });
    for (--at; begin < end; ++at) {
      const int64_t last = std::min(end, at->first_item + at->matrix->PanelsToPack(at->expert));
      at->matrix->PackPanels(at->expert, begin - at->first_item, last - at->first_item);
      begin = last;
    }
  });
  for (const Packing& packing : packing_) packing.matrix->FinishPacking(packing.expert);
}

// Pair p of every group is row index[p] of `rows`, or row p when index is null.
void RoutedFfn::MakeTiles(QuantizedInput& rows, const int32_t* index) {
  // A generating stream has one pair in each group, which needs no tile and no barrier.
  const bool several = std::any_of(groups_.begin(), groups_.end(), [](const Group& group) { return group.pairs > 1; });
  if (!several || kernels_.make_tiles == nullptr) return;
  rows.ResizeTiles(static_cast<int64_t>(pair_token_.size()));
  pool_.ParallelFor(static_cast<int64_t>(groups_.size()), [&](int64_t begin, int64_t end, int) {
    for (int64_t g = begin; g < end; ++g) {
      const Group& group = groups_[g];
      if (group.pairs == 1) continue;
      rows.MakeTiles(kernels_, group.first_pair, group.pairs, index == nullptr ? nullptr : index + group.first_pair,
                     index == nullptr ? group.first_pair : 0);
    }
  });
}

// Inputs are the tokens' rows, or, when weights scale the input, one row per pair.
CpuMatrix::Input RoutedFfn::PrepareInput(const Routes& routes, Tensor x, bool weighted, SpanSet spans) {
  CpuMatrix::Input input = {.x = x, .index = pair_token_.data()};
  if (weighted) {
    const auto pairs = static_cast<int64_t>(pair_token_.size());
    float* rows = weighted_.Get<float>(static_cast<size_t>(pairs * x.cols));
    for (int64_t p = 0; p < pairs; ++p) {
      const float weight = routes.weights[pair_route_[p]];
      const float* from = x.row(pair_token_[p]);
      for (int64_t c = 0; c < x.cols; ++c) rows[p * x.cols + c] = weight * from[c];
    }
    input = {.x = {.data = rows, .rows = pairs, .cols = x.cols, .stride = x.cols}, .index = nullptr};
  }
  if (!spans.empty()) {
    input_rows_.Resize(spans, input.x.rows, x.cols);
    const int64_t grain = std::max<int64_t>(1, 16384 / x.cols);
    pool_.ParallelFor(input.x.rows, grain, [&](int64_t begin, int64_t end, int) {
      for (int64_t row = begin; row < end; ++row) input_rows_.Quantize(kernels_, row, input.x.row(row));
    });
    MakeTiles(input_rows_, input.index);
  }
  return input;
}

// A row of hidden's memory has room for its FF columns, the gate's results among them, and then for those of up.
void RoutedFfn::RunGateAndUp(std::span<const Half> halves, int64_t ff, const CpuMatrix::Input& input, Tensor hidden) {
  const int64_t tiles = (ff + kTileRows - 1) / kTileRows;
  const auto items = static_cast<int64_t>(groups_.size() * halves.size()) * tiles;
  pool_.ParallelFor(items, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t item = begin; item < end;) {
      const int64_t tile = item % tiles;
      const int64_t tile_count = std::min(tiles - tile, end - item);
      const Half& half = halves[item / tiles % halves.size()];
      const Group& group = groups_[item / tiles / halves.size()];
      CpuMatrix::Input rows = input;
      rows.tokens = group.pairs;
      int64_t first_row = 0;
      if (input.index != nullptr) {
        rows.index = input.index + group.first_pair;
      } else {
        first_row = group.first_pair;
        rows.x.data = input.x.row(first_row);
      }
      if (half.matrix->uses_int8()) {
        rows.quantized = input_rows_.view(half.matrix->scale_span(), first_row, FirstTile(group));
      }
      const int64_t first = tile * kTileRows;  // Of the half's rows.
      const int64_t last = std::min(ff, (tile + tile_count) * kTileRows);
      half.matrix->Multiply(kernels_, group.expert, half.first_row + first, half.first_row + last, rows,
                            hidden.row(group.first_pair) + half.first_col + first, hidden.stride,
                            half.bias == nullptr ? nullptr : half.bias + group.expert * ff + first, scratch_[thread]);
      item += tile_count;
    }
  });
}

// The first experts of a product that comes soon.
void RoutedFfn::PlanReadAhead(const CpuMatrix& matrix, int64_t tokens) {
  std::array<std::span<const std::byte>, 4> wanted;
  const size_t count = tokens <= ReadAhead::kRowsMax ? std::min(wanted.size(), groups_.size()) : 0;
  for (size_t i = 0; i < count; ++i) wanted[i] = matrix.product_bytes(groups_[i].expert);
  pool_.read_ahead().Plan(std::span(wanted).first(count), ReadAhead::kGapBytes);
}

// gate = act(gate) * up, [pairs, FF] each; then, where spans says so, the quantized rows of hidden.
void RoutedFfn::Activate(Activation activation, Tensor gate, Tensor up, const SpanSet& spans, Tensor hidden) {
  pool_.ParallelFor(gate.rows, [&](int64_t begin, int64_t end, int) {
    GatedActivationRows(isa_, activation, gate, up, begin, end);
    if (spans.empty()) return;
    for (int64_t row = begin; row < end; ++row) hidden_rows_.Quantize(kernels_, row, hidden.row(row));
  });
}

void RoutedFfn::QuantizeHidden(const SpanSet& spans, Tensor hidden) {
  if (spans.empty()) return;
  pool_.ParallelFor(hidden.rows, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) hidden_rows_.Quantize(kernels_, row, hidden.row(row));
  });
}

// results: f32[pairs, D].
void RoutedFfn::RunDown(const CpuMatrix& down, const float* bias, Tensor hidden, float* results) {
  const int64_t rows = down.shape().rows;
  const int64_t tiles = (rows + kTileRows - 1) / kTileRows;
  pool_.ParallelFor(static_cast<int64_t>(groups_.size()) * tiles, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t item = begin; item < end;) {
      const int64_t tile = item % tiles;
      const int64_t tile_count = std::min(tiles - tile, end - item);
      const Group& group = groups_[item / tiles];
      CpuMatrix::Input input;
      input.x = {
          .data = hidden.row(group.first_pair), .rows = group.pairs, .cols = hidden.cols, .stride = hidden.stride};
      input.tokens = group.pairs;
      if (down.uses_int8()) {
        input.quantized = hidden_rows_.view(down.scale_span(), group.first_pair, FirstTile(group));
      }
      const int64_t first = tile * kTileRows;
      down.Multiply(kernels_, group.expert, first, std::min(rows, (tile + tile_count) * kTileRows), input,
                    results + group.first_pair * rows + first, rows,
                    bias == nullptr ? nullptr : bias + group.expert * rows + first, scratch_[thread]);
      item += tile_count;
    }
  });
}

// Adds the experts' results of each token in the order of its routes, so that batching changes no bit.
void RoutedFfn::AddUp(const Routes& routes, bool weighted_input, const float* results, Tensor out) {
  const int64_t grain = std::max<int64_t>(1, 32768 / (out.cols * std::max<int64_t>(1, routes.k)));
  pool_.ParallelFor(out.rows, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      std::memset(out.row(t), 0, sizeof(float) * out.cols);
      const Tensor sum = {.data = out.row(t), .rows = 1, .cols = out.cols, .stride = out.cols};
      for (int64_t i = t * routes.k; i < (t + 1) * routes.k; ++i) {
        if (pair_of_route_[i] < 0) continue;
        const Tensor result = {.data = const_cast<float*>(results) + pair_of_route_[i] * out.cols,
                               .rows = 1,
                               .cols = out.cols,
                               .stride = out.cols};
        AddScaledRows(isa_, sum, result, weighted_input ? 1.0f : routes.weights[i], 0, 1);
      }
    }
  });
}

}  // namespace barn
