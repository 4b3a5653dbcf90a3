#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "kernels/device.h"
#include "sharding/gguf.h"
#include "worker/memory/weights.h"
#include "worker/model/rank_group.h"
#include "worker/model/spec.h"

namespace barn {

// Weights of a slice on its device; blocks hold plain pointers into it.
struct LoadedWeights {
  // Where a matrix that Step::Multiply may meet comes from; what adapters are added to.
  struct Origin {
    std::string tensor;
    Span rows;
    const Matrix* matrix = nullptr;
    bool looked_up = false;  // The token embedding.
  };

  std::vector<std::unique_ptr<Matrix>> matrices;
  std::vector<std::unique_ptr<Buffer>> vectors;
  std::vector<Origin> origins;
};

// Finds a model's tensors by name, checks their shapes against what the configuration promises and puts them on the
// device. The first error sticks and the getters then return null; callers check status() once, before anything is
// used.
class TensorLoader {
 public:
  // All must outlive the loader. expert_use: kExperts or kBorrowed, for ExpertMatrix.
  TensorLoader(const GgufModel& model, WeightSource& source, Device& device, LoadedWeights& loaded,
               MatrixUse expert_use)
      : model_(model), source_(source), device_(device), loaded_(loaded), expert_use_(expert_use) {}

  // Null where an optional tensor is missing, and for kAbsent.
  const ::barn::Matrix* Matrix(std::string_view name, MatrixShape shape, Presence presence = Presence::kRequired,
                               MatrixUse use = MatrixUse::kProducts) {
    return MatrixRows(name, shape, {.first = 0, .count = shape.rows}, presence, use);
  }
  // As Matrix, only some rows (of each matrix); shape is that of the tensor.
  const ::barn::Matrix* MatrixRows(std::string_view name, MatrixShape shape, Span rows,
                                   Presence presence = Presence::kRequired, MatrixUse use = MatrixUse::kProducts) {
    return RowsOn(device_, name, shape, rows, presence, use);
  }
  // Where the experts of the layers that follow shall lie: the device, at first.
  void PutExpertsOn(Device& device) { expert_device_ = &device; }
  Device& expert_device() const { return *expert_device_; }
  bool experts_apart() const { return expert_device_ != &device_; }
  // As Matrix, for RoutedFfn.
  const ::barn::Matrix* ExpertMatrix(std::string_view name, MatrixShape shape, Span rows) {
    return RowsOn(*expert_device_, name, shape, rows, Presence::kRequired, expert_use_);
  }
  // As MatrixRows, for MatMulExact: F32, F16 or BF16.
  const ::barn::Matrix* ExactMatrix(std::string_view name, MatrixShape shape, Span rows);
  // F32 only.
  const float* Vector(std::string_view name, int64_t size, Presence presence = Presence::kRequired) {
    return VectorColumns(name, 1, size, {.first = 0, .count = size}, presence);
  }
  // Some columns of f32[rows, cols], as [rows, columns.count].
  const float* VectorColumns(std::string_view name, int64_t rows, int64_t cols, Span columns,
                             Presence presence = Presence::kRequired) {
    return ColumnsOn(device_, name, rows, cols, columns, presence);
  }
  // As VectorColumns, for RoutedFfn.
  const float* ExpertColumns(std::string_view name, int64_t rows, int64_t cols, Span columns, Presence presence) {
    return ColumnsOn(*expert_device_, name, rows, cols, columns, presence);
  }
  // Numbers that no tensor holds, on the device.
  const float* Keep(std::span<const float> values);
  // As Vector, for numbers that the host works with; empty instead of null.
  std::vector<float> HostVector(std::string_view name, int64_t size, Presence presence = Presence::kRequired);
  // The rows of one matrix as several, of which some rows each, without a copy. On error all are null.
  struct MatrixPart {
    int64_t rows = 0;  // In the file.
    Span wanted;       // Among these.
  };
  std::vector<const ::barn::Matrix*> Split(std::string_view name, std::span<const MatrixPart> parts, int64_t cols);

  bool Has(std::string_view name) const { return model_.FindTensor(name) != nullptr; }

  // Fails for a tensor of the layer that nothing asked for: the architecture would ignore it and answer wrongly.
  void RequireLayerUsed(int64_t layer);

  const absl::Status& status() const { return status_; }

 private:
  const GgufTensor* Find(std::string_view name, std::span<const int64_t> dims, Presence presence);
  // The bytes of an F32 tensor; empty when it is missing or on error.
  std::span<const std::byte> Floats(std::string_view name, std::span<const int64_t> dims, Presence presence);
  std::span<const std::byte> Bytes(const GgufTensor& tensor);
  const ::barn::Matrix* RowsOn(Device& device, std::string_view name, MatrixShape shape, Span rows, Presence presence,
                               MatrixUse use);
  const float* ColumnsOn(Device& device, std::string_view name, int64_t rows, int64_t cols, Span columns,
                         Presence presence);
  // `bytes`: those of the tensor from `offset` onwards.
  const ::barn::Matrix* Upload(Device& device, const GgufTensor& tensor, MatrixShape shape, int64_t offset,
                               std::span<const std::byte> bytes, MatrixUse use);
  void Fail(const absl::Status& status);

  const GgufModel& model_;
  WeightSource& source_;
  Device& device_;
  Device* expert_device_ = &device_;
  LoadedWeights& loaded_;
  const MatrixUse expert_use_;
  std::set<std::string, std::less<>> used_;
  absl::Status status_;
};

// "blk.<layer>.<tensor>"
std::string LayerTensor(int64_t layer, std::string_view tensor);

}  // namespace barn
