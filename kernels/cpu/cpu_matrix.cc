#include "kernels/cpu/cpu_matrix.h"

#include "absl/memory/memory.h"
#include "absl/strings/str_format.h"
#include "kernels/formats/decode.h"

namespace barn {
namespace {

bool Product(int64_t a, int64_t b, int64_t* result) { return !__builtin_mul_overflow(a, b, result); }

}  // namespace

absl::StatusOr<std::unique_ptr<CpuMatrix>> CpuMatrix::Create(DType dtype, MatrixShape shape,
                                                             std::span<const std::byte> bytes,
                                                             const KernelTable& kernels, ActivationMode mode) {
  const DTypeInfo& info = Info(dtype);
  int64_t row_bytes, rows, total;
  if (shape.count <= 0 || shape.rows <= 0 || shape.cols <= 0 || shape.cols % info.block_elements != 0 ||
      !Product(shape.cols / info.block_elements, info.block_bytes, &row_bytes) ||
      !Product(shape.count, shape.rows, &rows) || !Product(rows, row_bytes, &total) ||
      static_cast<uint64_t>(total) != bytes.size()) {
    return absl::InvalidArgumentError(absl::StrFormat("%d x %d x %d of %s do not lie in %d bytes", shape.count,
                                                      shape.rows, shape.cols, info.name, bytes.size()));
  }
  auto matrix = absl::WrapUnique(new CpuMatrix(dtype, shape, bytes.data(), row_bytes));
  const auto id = static_cast<size_t>(dtype);
  if (mode == ActivationMode::kInt8 && id < kTypeIds) matrix->int8_product_ = kernels.int8_product[id];
  return matrix;
}

void CpuMatrix::Multiply(const KernelTable& kernels, int64_t index, int64_t row_begin, int64_t row_end,
                         const Input& input, float* out, int64_t out_stride, const float* bias,
                         Scratch& scratch) const {
  if (uses_int8()) {
    const auto blocks = static_cast<size_t>(shape_.cols / 32);
    int8_product_({.weights = reinterpret_cast<const uint8_t*>(row(index, row_begin)),
                   .row_bytes = static_cast<size_t>(row_bytes_),
                   .rows = static_cast<size_t>(row_end - row_begin),
                   .blocks = blocks,
                   .x = input.quantized,
                   .index = input.index,
                   .tokens = static_cast<size_t>(input.tokens),
                   .out = out,
                   .out_stride = static_cast<size_t>(out_stride),
                   .bias = bias,
                   .scratch = scratch.Get<uint8_t>(Int8ScratchBytes(blocks))});
    return;
  }
  MultiplyFloat(kernels, index, row_begin, row_end, input, out, out_stride, bias, scratch);
}

void CpuMatrix::MultiplyFloat(const KernelTable& kernels, int64_t index, int64_t row_begin, int64_t row_end,
                              const Input& input, float* out, int64_t out_stride, const float* bias,
                              Scratch& scratch) const {
  const bool plain = dtype_ == DType::kF32 || dtype_ == DType::kF16 || dtype_ == DType::kBF16;
  const auto product = dtype_ == DType::kF16    ? kernels.f16_row
                       : dtype_ == DType::kBF16 ? kernels.bf16_row
                                                : kernels.f32_row;
  float* decoded = plain ? nullptr : scratch.Get<float>(static_cast<size_t>(shape_.cols));
  for (int64_t r = row_begin; r < row_end; ++r) {
    if (!plain) DecodeRow(dtype_, row(index, r), decoded, shape_.cols);
    const void* weight = plain ? static_cast<const void*>(row(index, r)) : decoded;
    product({.weight = static_cast<const uint8_t*>(weight),
             .cols = static_cast<size_t>(shape_.cols),
             .x = input.x.data,
             .x_stride = static_cast<size_t>(input.x.stride),
             .index = input.index,
             .tokens = static_cast<size_t>(input.tokens),
             .out = out + (r - row_begin),
             .out_stride = static_cast<size_t>(out_stride),
             .bias = bias == nullptr ? 0.0f : bias[r - row_begin]});
  }
}

}  // namespace barn
