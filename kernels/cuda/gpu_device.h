#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/cuda/activation_planes.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/device_arena.h"
#include "kernels/cuda/gpu_matrix.h"
#include "kernels/cuda/graph_cache.h"
#include "kernels/cuda/routes.h"
#include "kernels/cuda/rows.h"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/staged_inputs.h"
#include "kernels/cuda/work_log.h"
#include "kernels/device.h"

namespace barn {

struct GpuOptions {
  int index = 0;             // Of gpu::ListDevices.
  int64_t memory_bytes = 0;  // For weights, keys and values, and activations; 0: nine tenths of the device's memory.
  bool graphs = true;        // See GraphCache.
};

// Device on a GPU: everything lies in one arena, all work is put on one stream, and the host waits for it only where it
// reads results (ToHost, RankLogits) or memory changes hands. What goes wrong on the way shows in status().
class GpuDevice final : public Device {
 public:
  // InvalidArgument: there is no such device. ResourceExhausted: it has not so much memory free.
  static absl::StatusOr<std::unique_ptr<GpuDevice>> Create(GpuOptions options);
  ~GpuDevice() override;

  std::string Describe() const override;
  // Products of few rows and of many sum in different orders.
  bool batch_invariant() const override { return false; }
  bool host_addressable() const override { return false; }
  int64_t memory_bytes() const { return arena_->bytes(); }  // Of the device, for all that lies there.
  int64_t used_bytes_max() const { return arena_->used_bytes_max(); }
  absl::Status status() const override;
  int64_t graph_starts() const { return graphs_ == nullptr ? 0 : graphs_->starts(); }

  using Device::Upload;
  absl::StatusOr<std::unique_ptr<Matrix>> Upload(DType dtype, MatrixShape shape, std::span<const std::byte> bytes,
                                                 MatrixUse use, BytesCopied copied) override;
  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(int64_t floats) override;
  absl::StatusOr<std::unique_ptr<Buffer>> AllocateKv(int64_t bytes) override;

  Tensor ToHost(Tensor x) override;
  void CopyFromHost(std::span<const float> values, Tensor out) override;

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
  void WriteKv(const KvLayer& kv, std::span<const SequenceRows> sequences, Tensor k, Tensor v) override;
  void CopyKvBlocks(const KvLayer& kv, std::span<const KvBlockCopy> copies) override;
  void Attention(const AttentionArgs& args) override;
  void Add(Tensor x, Tensor y) override;
  void AddScaled(Tensor x, Tensor y, float scale) override;
  void Scale(Tensor x, float scale) override;
  void ScaleRows(Tensor x, std::span<const float> scales) override;
  void Softcap(Tensor x, float cap) override;
  void RankLogits(std::span<LogitRanking> rows) override;
  void Copy(Tensor x, Tensor out) override;

  DeviceStream stream() override;
  int64_t Mark() override;
  bool Reached(int64_t mark) override;

  DeviceCounters counters() const override { return counters_; }

 private:
  // Memory of the device that grows to the largest use.
  struct Area {
    std::byte* memory = nullptr;
    int64_t bytes = 0;
  };
  // The same of the host, pinned.
  struct PinnedArea {
    std::byte* memory = nullptr;
    int64_t bytes = 0;
  };
  // Pairs of a token and an expert, on the device.
  struct Pairs {
    const int32_t* experts = nullptr;
    const float* weights = nullptr;
    int64_t count = 0;
    int64_t each = 0;  // Of a token.
    std::optional<gpu::SortedRoutes> sorted = std::nullopt;
  };
  // What gate and up give for pairs, [pairs, FF]. Where ranks share FF, gate and up are this rank's columns, and up
  // stands apart, so that `all` can be exchanged; else up stands behind gate, as one matrix for both gives them.
  struct Hidden {
    gpu::Rows all = {}, gate = {}, up = {};
  };
  class GpuBuffer;

  GpuDevice(int index, gpu::DeviceInfo info, std::unique_ptr<DeviceArena> arena, gpu::Stream stream)
      : index_(index), info_(std::move(info)), arena_(std::move(arena)), stream_(stream), staged_(*arena_, stream) {}

  // For the thread that calls; false: something went wrong before, and nothing more shall be put on the stream.
  bool Ready();
  void Fail(const absl::Status& status) { status_.Update(status); }
  void StartLogged();
  void Drain();  // Returns when the stream is done.
  void Wait();   // The same, where no array of this call is staged: their memory is used again.
  void Release(std::byte* memory);
  // Null, and a status, where there is no memory.
  std::byte* Grow(Area& area, int64_t bytes);
  std::byte* Grow(PinnedArea& area, int64_t bytes);
  template <class T>
  T* Grow(Area& area, int64_t count) {
    return reinterpret_cast<T*>(Grow(area, count * static_cast<int64_t>(sizeof(T))));
  }
  absl::StatusOr<std::unique_ptr<Buffer>> AllocateZeroed(int64_t bytes);
  absl::StatusOr<const void*> GridOf(DType dtype);

  // x rounded to int8, in codes_ and unit_scales_; codes null where there is no memory.
  gpu::ActivationPlanes Quantized(gpu::Rows x);
  void Multiply(const GpuMatrix& weight, const float* bias, gpu::Rows x, const gpu::ActivationPlanes& planes,
                gpu::Rows out);
  // Row p of out is the product of the matrix of pair p's expert and row p / pairs_per_row of x.
  void MultiplyRouted(const GpuMatrix& weight, const float* bias, gpu::Rows x, const gpu::ActivationPlanes& planes,
                      const Pairs& pairs, int64_t pairs_per_row, gpu::Rows out);
  void SortPairs(Pairs& pairs, int64_t tokens, int64_t experts);
  Hidden HiddenOf(const ExpertMatrices& experts, int64_t pairs, int64_t ff);
  void RunExperts(const ExpertMatrices& experts, const Pairs& pairs, gpu::Rows x, int64_t pairs_per_row,
                  const Hidden& hidden);
  void CountExperts(const ExpertMatrices& experts, const Routes& routes);
  gpu::StepRows Place(std::span<const SequenceRows> sequences, int64_t rows);
  int64_t ChooseSplits(const AttentionArgs& args, const gpu::AttentionShape& shape, int64_t tiles) const;
  void RankOne(LogitRanking& row, std::byte* results, int64_t offset);

  const int index_;
  const gpu::DeviceInfo info_;
  const std::unique_ptr<DeviceArena> arena_;
  const gpu::Stream stream_;
  // What was put on the stream since it was last waited for; null, and so is the cache: it starts at once.
  std::unique_ptr<gpu::WorkLog> log_;
  std::unique_ptr<GraphCache> graphs_;
  StagedInputs staged_;
  absl::Status status_;
  DeviceCounters counters_;
  std::array<gpu::Event, kMarks> events_ = {};  // Of mark i at i % kMarks.
  int64_t marks_ = 0;
  std::map<DType, std::byte*> grids_;  // Tables of points, uploaded once.

  Area codes_, unit_scales_, spread_, hidden_, up_, results_, dense_, partials_, ranking_keys_, ranking_results_;
  Area route_tiles_, route_pairs_, route_bounds_;
  PinnedArea read_back_, ranked_;
  StagedInputs::Kept kept_positions_, kept_frequencies_, kept_step_positions_, kept_table_begin_, kept_blocks_,
      kept_tiles_;
  // Of the call at hand; kept for their memory.
  std::vector<int32_t> positions_, table_begin_, blocks_;
  std::vector<gpu::AttentionTile> tiles_;
};

}  // namespace barn
