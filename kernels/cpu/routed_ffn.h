#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/cpu/cpu_matrix.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/quantize_activations.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/device.h"

namespace barn {

// Device::RoutedFfn on the CPU. Pairs of (token, expert) are sorted by expert, so that each routed expert's rows are
// read once for all its tokens, and no other expert is read. Keeps its working memory from call to call.
class RoutedFfn {
 public:
  RoutedFfn(Isa isa, const KernelTable& kernels, ThreadPool& pool, std::span<Scratch> scratch)
      : isa_(isa), kernels_(kernels), pool_(pool), scratch_(scratch) {}

  // See Device::RoutedFfn. Adds what it touched to counters.
  void Run(const ExpertMatrices& experts, const Routes& routes, Tensor x, Tensor out, DeviceCounters& counters);

 private:
  struct Group {  // Pairs [first_pair, first_pair + pairs) are of this expert.
    int64_t expert = 0;
    int64_t first_pair = 0;
    int64_t pairs = 0;
  };
  // Of a group's pairs; a single row needs no tile.
  static int64_t FirstTile(const Group& group) { return group.pairs > 1 ? group.first_pair : -1; }
  struct Half {  // The gate or the up rows; they may share one matrix.
    const CpuMatrix* matrix = nullptr;
    int64_t first_row = 0;
    const float* bias = nullptr;  // f32[E, FF] or null.
    int64_t first_col = 0;        // In a row of hidden_.
  };

  void GroupPairs(const Routes& routes, int64_t tokens, int64_t expert_count);
  void PackExperts(std::span<const CpuMatrix* const> matrices);
  void MakeTiles(QuantizedInput& rows, const int32_t* index);
  CpuMatrix::Input PrepareInput(const Routes& routes, Tensor x, bool weighted, SpanSet spans);
  void RunGateAndUp(std::span<const Half> halves, int64_t ff, const CpuMatrix::Input& input, Tensor hidden);
  void PlanReadAhead(const CpuMatrix& matrix, int64_t tokens);
  void Activate(Activation activation, Tensor gate, Tensor up, const SpanSet& spans, Tensor hidden);
  void QuantizeHidden(const SpanSet& spans, Tensor hidden);
  void RunDown(const CpuMatrix& down, const float* bias, Tensor hidden, float* results);
  void AddUp(const Routes& routes, bool weighted_input, const float* results, Tensor out);

  const Isa isa_;
  const KernelTable& kernels_;
  ThreadPool& pool_;
  std::span<Scratch> scratch_;
  struct Packing {
    const CpuMatrix* matrix;
    int64_t expert;
    int64_t first_item;
  };

  std::vector<Group> groups_;
  std::vector<Packing> packing_;
  std::vector<int32_t> pair_token_;     // [pairs]
  std::vector<int32_t> pair_route_;     // [pairs]: index in Routes.
  std::vector<int32_t> pair_of_route_;  // [T * k], -1 where no expert.
  std::vector<int64_t> expert_counts_;  // [E + 1]
  QuantizedInput input_rows_;
  QuantizedInput hidden_rows_;
  Scratch weighted_, hidden_, results_;
};

}  // namespace barn
