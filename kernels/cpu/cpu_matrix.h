#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/memory.h"
#include "kernels/cpu/quantize_activations.h"
#include "kernels/cpu/read_ahead.h"
#include "kernels/device.h"

namespace barn {

// A weight that lies in somebody else's memory, as GGUF stores it, at any alignment; and beside that, where the
// instruction set gains from it, repacked in panels of rows. Rows that fill no panel are read where they lie.
class CpuMatrix final : public Matrix {
 public:
  // InvalidArgument: the bytes are not those of the shape, or a row is not whole blocks.
  static absl::StatusOr<std::unique_ptr<CpuMatrix>> Create(DType dtype, MatrixShape shape,
                                                           std::span<const std::byte> bytes, const KernelTable& kernels,
                                                           ActivationMode mode);

  // Makes room for panels of all matrices; nothing is packed yet, and what is not packed costs no memory. Does nothing
  // for formats and shapes without panels. `copied` may be null: see Device::Upload. ResourceExhausted: no memory.
  absl::Status ReservePanels(PageSize page_size, BytesCopied copied);
  // How many panels matrix `index` still has to be packed into; 0: none, or that has been done.
  int64_t PanelsToPack(int64_t index) const { return panels_ == nullptr || packed_[index] != 0 ? 0 : panels_each_; }
  // Packing changes no result, so it counts as const. Panels may be packed by several threads, Multiply of that matrix
  // comes before or after, and FinishPacking when all of its panels are there.
  void PackPanels(int64_t index, int64_t panel_begin, int64_t panel_end) const;
  void FinishPacking(int64_t index) const;

  DType dtype() const override { return dtype_; }
  MatrixShape shape() const override { return shape_; }
  int64_t row_bytes() const { return row_bytes_; }
  int64_t expert_bytes() const { return row_bytes_ * shape_.rows; }  // Of one of shape().count.
  // Of the scratch memory that Multiply takes at most.
  size_t scratch_bytes() const {
    const auto cols = static_cast<size_t>(shape_.cols);
    return uses_int8() ? Int8ScratchBytes(cols / 32) : cols * sizeof(float);
  }
  bool uses_int8() const { return int8_product_ != nullptr; }
  ScaleSpan scale_span() const { return scale_span_; }  // Of its int8 inputs.
  void AddSpan(SpanSet& spans) const {
    if (uses_int8()) spans.Add(scale_span_);
  }
  const std::byte* row(int64_t index, int64_t r) const { return data_ + (index * stored_rows_ + r) * row_bytes_; }

  // What a product with matrix `index` reads.
  std::span<const std::byte> product_bytes(int64_t index) const {
    if (panels_ == nullptr || packed_[index] == 0) return {row(index, 0), static_cast<size_t>(expert_bytes())};
    return {reinterpret_cast<const std::byte*>(panel(index, 0)), static_cast<size_t>(panels_each_ * panel_bytes_)};
  }
  // The same for a weight of one matrix, as ReadAhead wants it.
  const std::shared_ptr<WeightBytes>& weight_bytes() const {
    weight_bytes_->bytes = product_bytes(0);
    return weight_bytes_;
  }

  // What the inputs of a product are: f32 rows, their int8 form where uses_int8(), and which rows are meant.
  struct Input {
    Tensor x = {};
    QuantizedView quantized = {};
    const int32_t* index = nullptr;  // Of rows; null: rows 0 .. tokens - 1.
    int64_t tokens = 0;
  };
  // out[i * out_stride + r - row_begin] = row r of matrix `index` times input i, plus bias[r - row_begin], for r in
  // [row_begin, row_end); bias may be null. A result's bits depend on the row and the input alone.
  void Multiply(const KernelTable& kernels, int64_t index, int64_t row_begin, int64_t row_end, const Input& input,
                float* out, int64_t out_stride, const float* bias, Scratch& scratch) const;

 private:
  void MultiplyFloat(const KernelTable& kernels, int64_t index, int64_t row_begin, int64_t row_end, const Input& input,
                     float* out, int64_t out_stride, const float* bias, Scratch& scratch) const;

  void MultiplyRows(int64_t index, int64_t row_begin, int64_t row_end, Int8Args args, Scratch& scratch) const;
  void MultiplyPanels(int64_t index, int64_t row_begin, int64_t row_end, Int8Args args, Scratch& scratch) const;
  uint8_t* panel(int64_t index, int64_t number) const {
    return reinterpret_cast<uint8_t*>(panels_->data()) + (index * panels_each_ + number) * panel_bytes_;
  }

  CpuMatrix(DType dtype, MatrixShape shape, const std::byte* data, int64_t row_bytes)
      : dtype_(dtype),
        shape_(shape),
        stored_rows_(shape.stored_rows == 0 ? shape.rows : shape.stored_rows),
        data_(data),
        row_bytes_(row_bytes) {}

  DType dtype_;
  MatrixShape shape_;
  int64_t stored_rows_;
  const std::byte* data_;
  int64_t row_bytes_;
  void (*int8_product_)(const Int8Args&) = nullptr;  // Null: the rows meet f32.
  ScaleSpan scale_span_ = ScaleSpan::kBlock;

  PackedFormat packed_format_;
  int64_t panel_rows_ = 0;
  int64_t panel_bytes_ = 0;
  int64_t panels_each_ = 0;         // Of one matrix.
  std::unique_ptr<Buffer> panels_;  // Null: no panels.
  BytesCopied copied_;
  std::shared_ptr<WeightBytes> weight_bytes_ = std::make_shared<WeightBytes>();
  mutable std::vector<uint8_t> packed_;  // [count]: all panels of the matrix are there.
};

}  // namespace barn
