#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cpu/attention.h"
#include "kernels/cpu/cpu_matrix.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/logit_ranking.h"
#include "kernels/cpu/memory.h"
#include "kernels/cpu/quantize_activations.h"
#include "kernels/cpu/routed_ffn.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/device.h"

namespace barn {

// Device on the processor that this process runs on: threads share rows, and every result has the same bits whatever
// the number of threads and the instruction set of its matrix products.
class CpuDevice final : public Device {
 public:
  // mode and isa are what is really used; options gives the threads.
  CpuDevice(const CpuOptions& options, ActivationMode mode, Isa isa);

  std::string Describe() const override;
  bool batch_invariant() const override { return true; }
  using Device::Upload;
  absl::StatusOr<std::unique_ptr<Matrix>> Upload(DType dtype, MatrixShape shape, std::span<const std::byte> bytes,
                                                 MatrixUse use, BytesCopied copied) override;
  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(int64_t floats) override;
  absl::StatusOr<std::unique_ptr<Buffer>> AllocateKv(int64_t bytes) override;

  void EmbedRows(const Matrix& table, std::span<const int32_t> ids, Tensor out) override;
  void RmsNorm(Tensor x, const float* weight, float eps, Tensor out) override;
  void LayerNorm(Tensor x, const float* weight, const float* bias, float eps, Tensor out) override;
  void MatMul(std::span<const Projection> projections, Tensor x) override;
  void MatMulExact(const Projection& projection, Tensor x) override;
  void BatchedMatMul(const Matrix& weight, Tensor x, Tensor out) override;
  void RoutedFfn(const ExpertMatrices& experts, const Routes& routes, Tensor x, Tensor out) override;
  void GatedActivation(Activation activation, Tensor gate, Tensor up) override;
  void Gelu(Activation form, Tensor x) override;
  void Rope(const RopeArgs& args) override;
  void CopyKvBlocks(const KvLayer& kv, std::span<const KvBlockCopy> copies) override;
  void WriteKv(const KvLayer& kv, std::span<const SequenceRows> sequences, Tensor k, Tensor v) override;
  void Attention(const AttentionArgs& args) override;
  void Add(Tensor x, Tensor y) override;
  void AddScaled(Tensor x, Tensor y, float scale) override;
  void Scale(Tensor x, float scale) override;
  void ScaleRows(Tensor x, std::span<const float> scales) override;
  void Softcap(Tensor x, float cap) override;
  void RankLogits(std::span<LogitRanking> rows) override { logit_ranker_.Run(rows); }

  void ReadAhead(const std::function<bool()>& stop) override;

  DeviceCounters counters() const override { return counters_; }

 private:
  // Calls body(row_begin, row_end) over the rows of x, in parallel where that is worth a barrier.
  template <class Body>
  void ForRows(Tensor x, Body body) {
    constexpr int64_t kElementsPerPiece = 8192;  // Below this one thread is done sooner than two have met.
    const int64_t grain = std::max<int64_t>(kElementsPerPiece / std::max<int64_t>(1, x.cols), 1);
    pool_.ParallelFor(x.rows, grain, [&](int64_t begin, int64_t end, int) { body(begin, end); });
  }
  // For every thread, since one may first take part in the millionth loop.
  void ReserveScratch(size_t bytes) {
    for (Scratch& scratch : scratch_) scratch.Get<std::byte>(bytes);
  }
  void MakeTiles(int64_t rows);
  void MultiplyTiles(const Projection& projection, Tensor x, int64_t token, int64_t row, int64_t rows, int thread);

  const ActivationMode mode_;
  const Repack repack_;
  const Isa isa_;
  const KernelTable& kernels_;
  ThreadPool pool_;
  std::vector<Scratch> scratch_;  // One per thread.
  QuantizedInput quantized_;
  bool few_rows_ = false;  // In the last product.
  barn::RoutedFfn routed_ffn_;
  LogitRanker logit_ranker_;
  AttentionPlan attention_plan_;
  Scratch partials_;
  DeviceCounters counters_;
};

}  // namespace barn
