#include "kernels/cpu/cpu_matrix.h"

#include <algorithm>
#include <utility>

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
  const int64_t stored_rows = shape.stored_rows == 0 ? shape.rows : shape.stored_rows;
  int64_t row_bytes, rows, total;
  if (shape.count <= 0 || shape.rows <= 0 || shape.cols <= 0 || stored_rows < shape.rows ||
      shape.cols % info.block_elements != 0 ||
      !Product(shape.cols / info.block_elements, info.block_bytes, &row_bytes) ||
      !Product(shape.count - 1, stored_rows, &rows) || __builtin_add_overflow(rows, shape.rows, &rows) ||
      !Product(rows, row_bytes, &total) || static_cast<uint64_t>(total) != bytes.size()) {
    return absl::InvalidArgumentError(absl::StrFormat("%d x %d x %d of %s do not lie in %d bytes", shape.count,
                                                      shape.rows, shape.cols, info.name, bytes.size()));
  }
  auto matrix = absl::WrapUnique(new CpuMatrix(dtype, shape, bytes.data(), row_bytes));
  const auto id = static_cast<size_t>(dtype);
  if (mode == ActivationMode::kInt8 && id < kTypeIds) {
    matrix->int8_product_ = kernels.int8_product[id];
    matrix->scale_span_ = kernels.scale_span[id];
    matrix->packed_format_ = kernels.packed[id];
    matrix->panel_rows_ = static_cast<int64_t>(kernels.panel_rows);
  }
  return matrix;
}

absl::Status CpuMatrix::ReservePanels(PageSize page_size, BytesCopied copied) {
  if (packed_format_.pack == nullptr || shape_.rows < panel_rows_) return absl::OkStatus();
  panels_each_ = shape_.rows / panel_rows_;
  panel_bytes_ = static_cast<int64_t>(packed_format_.panel_bytes(static_cast<size_t>(shape_.cols / 32)));
  int64_t count, bytes;
  if (!Product(shape_.count, panels_each_, &count) || !Product(count, panel_bytes_, &bytes)) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("%d x %d panels of %d bytes", shape_.count, panels_each_, panel_bytes_));
  }
  absl::StatusOr<std::unique_ptr<Buffer>> panels = AllocatePages(bytes, page_size);
  if (!panels.ok()) return panels.status();
  panels_ = *std::move(panels);
  copied_ = std::move(copied);
  packed_.assign(static_cast<size_t>(shape_.count), 0);
  return absl::OkStatus();
}

void CpuMatrix::PackPanels(int64_t index, int64_t panel_begin, int64_t panel_end) const {
  for (int64_t p = panel_begin; p < panel_end; ++p) {
    packed_format_.pack(reinterpret_cast<const uint8_t*>(row(index, p * panel_rows_)), static_cast<size_t>(row_bytes_),
                        static_cast<size_t>(shape_.cols / 32), panel(index, p));
  }
}

void CpuMatrix::FinishPacking(int64_t index) const {
  packed_[index] = 1;
  if (copied_ != nullptr) copied_({row(index, 0), static_cast<size_t>(panels_each_ * panel_rows_ * row_bytes_)});
}

void CpuMatrix::Multiply(const KernelTable& kernels, int64_t index, int64_t row_begin, int64_t row_end,
                         const Input& input, float* out, int64_t out_stride, const float* bias,
                         Scratch& scratch) const {
  if (!uses_int8()) {
    return MultiplyFloat(kernels, index, row_begin, row_end, input, out, out_stride, bias, scratch);
  }
  Int8Args args = {.row_bytes = static_cast<size_t>(row_bytes_),
                   .blocks = static_cast<size_t>(shape_.cols / 32),
                   .x = input.quantized,
                   .index = input.index,
                   .tokens = static_cast<size_t>(input.tokens),
                   .out = out,
                   .out_stride = static_cast<size_t>(out_stride),
                   .bias = bias};
  int64_t panels_begin = row_end, panels_end = row_end;  // Rows in whole panels.
  if (panels_ != nullptr && packed_[index] != 0) {
    panels_begin = std::min(row_end, (row_begin + panel_rows_ - 1) / panel_rows_ * panel_rows_);
    panels_end = std::max(panels_begin, row_end / panel_rows_ * panel_rows_);
  }
  const auto skip = [&](int64_t rows) {
    args.out += rows;
    if (args.bias != nullptr) args.bias += rows;
  };
  MultiplyRows(index, row_begin, panels_begin, args, scratch);
  skip(panels_begin - row_begin);
  MultiplyPanels(index, panels_begin, panels_end, args, scratch);
  skip(panels_end - panels_begin);
  MultiplyRows(index, panels_end, row_end, args, scratch);
}

void CpuMatrix::MultiplyRows(int64_t index, int64_t row_begin, int64_t row_end, Int8Args args, Scratch& scratch) const {
  if (row_begin == row_end) return;
  args.weights = reinterpret_cast<const uint8_t*>(row(index, row_begin));
  args.rows = static_cast<size_t>(row_end - row_begin);
  args.scratch = scratch.Get<uint8_t>(Int8ScratchBytes(args.blocks));
  int8_product_(args);
}

void CpuMatrix::MultiplyPanels(int64_t index, int64_t row_begin, int64_t row_end, Int8Args args,
                               Scratch& scratch) const {
  if (row_begin == row_end) return;
  packed_format_.product({.panels = panel(index, row_begin / panel_rows_),
                          .rows = static_cast<size_t>(row_end - row_begin),
                          .blocks = args.blocks,
                          .x = args.x,
                          .index = args.index,
                          .tokens = args.tokens,
                          .out = args.out,
                          .out_stride = args.out_stride,
                          .bias = args.bias,
                          .scratch = scratch.Get<uint8_t>(Int8ScratchBytes(args.blocks))});
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
