#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/memory.h"
#include "kernels/device.h"

namespace barn {

// A weight that lies in somebody else's memory, as GGUF stores it, at any alignment.
class CpuMatrix final : public Matrix {
 public:
  // InvalidArgument: the bytes are not those of the shape, or a row is not whole blocks.
  static absl::StatusOr<std::unique_ptr<CpuMatrix>> Create(DType dtype, MatrixShape shape,
                                                           std::span<const std::byte> bytes, const KernelTable& kernels,
                                                           ActivationMode mode);

  DType dtype() const override { return dtype_; }
  MatrixShape shape() const override { return shape_; }
  int64_t row_bytes() const { return row_bytes_; }
  int64_t expert_bytes() const { return row_bytes_ * shape_.rows; }  // Of one of shape().count.
  bool uses_int8() const { return int8_product_ != nullptr; }
  const std::byte* row(int64_t index, int64_t r) const { return data_ + (index * shape_.rows + r) * row_bytes_; }

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

  CpuMatrix(DType dtype, MatrixShape shape, const std::byte* data, int64_t row_bytes)
      : dtype_(dtype), shape_(shape), data_(data), row_bytes_(row_bytes) {}

  DType dtype_;
  MatrixShape shape_;
  const std::byte* data_;
  int64_t row_bytes_;
  void (*int8_product_)(const Int8Args&) = nullptr;  // Null: the rows meet f32.
};

}  // namespace barn
