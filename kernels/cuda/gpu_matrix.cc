#include "kernels/cuda/gpu_matrix.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/strings/str_format.h"
#include "kernels/cuda/weight_upload.h"
#include "kernels/formats/decode.h"

namespace barn {
namespace {

bool Product(int64_t a, int64_t b, int64_t* result) { return !__builtin_mul_overflow(a, b, result); }

DType StoredType(DType dtype) { return gpu::FindPlaneLayout(dtype) != nullptr ? dtype : DType::kF32; }

}  // namespace

absl::StatusOr<GpuMatrix::Source> GpuMatrix::Check(DType dtype, MatrixShape shape, std::span<const std::byte> bytes) {
  const DTypeInfo& info = Info(dtype);
  if (shape.stored_rows == 0) shape.stored_rows = shape.rows;
  Source source = {.dtype = dtype, .shape = shape, .bytes = bytes};
  int64_t rows = 0, total = 0, cells = 0;
  if (shape.count <= 0 || shape.rows <= 0 || shape.cols <= 0 || shape.stored_rows < shape.rows ||
      shape.cols % info.block_elements != 0 ||
      !Product(shape.cols / info.block_elements, info.block_bytes, &source.row_bytes) ||
      !Product(shape.count - 1, shape.stored_rows, &rows) || __builtin_add_overflow(rows, shape.rows, &rows) ||
      !Product(rows, source.row_bytes, &total) || static_cast<uint64_t>(total) != bytes.size() ||
      !Product(rows, shape.cols, &cells) || !Product(cells, 8, &cells)) {
    return absl::InvalidArgumentError(absl::StrFormat("%d x %d x %d of %s do not lie in %d bytes", shape.count,
                                                      shape.rows, shape.cols, info.name, bytes.size()));
  }
  return source;
}

int64_t GpuMatrix::DeviceBytes(const Source& source) {
  const gpu::PlaneLayout& layout = *gpu::FindPlaneLayout(StoredType(source.dtype));
  return gpu::PlacePlanes(layout, source.shape.count * source.shape.rows, source.shape.cols).bytes;
}

absl::StatusOr<std::unique_ptr<GpuMatrix>> GpuMatrix::Create(const Source& source, std::byte* memory, const void* grid,
                                                             std::function<void()> free) {
  auto matrix = absl::WrapUnique(new GpuMatrix(source, std::move(free)));
  const absl::Status status = matrix->Fill(source, memory, grid);
  if (!status.ok()) return status;
  return matrix;
}

absl::Status GpuMatrix::Fill(const Source& source, std::byte* memory, const void* grid) {
  const MatrixShape& shape = source.shape;
  const DType stored = StoredType(source.dtype);
  view_ = gpu::PlaceWeight(stored, shape.count, shape.rows, shape.cols, memory, grid);
  expert_bytes_ = DeviceBytes(source) / shape.count;
  const auto matrix_bytes = static_cast<size_t>(shape.rows * source.row_bytes);
  for (int64_t i = 0; i < shape.count; ++i) {
    const auto first = static_cast<size_t>(i * shape.stored_rows * source.row_bytes);
    const std::span<const std::byte> rows = source.bytes.subspan(first, matrix_bytes);
    const absl::Status status = stored == source.dtype ? gpu::UploadRows(view_, i * shape.rows, rows)
                                                       : UploadDecoded(source, i * shape.rows, rows);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

// Some rows at a time, so that the host needs little memory.
absl::Status GpuMatrix::UploadDecoded(const Source& source, int64_t first_row, std::span<const std::byte> bytes) {
  constexpr int64_t kPieceFloats = int64_t{1} << 20;
  const int64_t cols = source.shape.cols;
  const int64_t piece = std::clamp<int64_t>(kPieceFloats / cols, 1, source.shape.rows);
  std::vector<float> values(static_cast<size_t>(piece * cols));
  for (int64_t first = 0; first < source.shape.rows; first += piece) {
    const int64_t count = std::min(piece, source.shape.rows - first);
    for (int64_t r = 0; r < count; ++r) {
      DecodeRow(source.dtype, bytes.data() + (first + r) * source.row_bytes, values.data() + r * cols, cols);
    }
    const absl::Status status = gpu::UploadRows(
        view_, first_row + first, std::as_bytes(std::span(values).first(static_cast<size_t>(count * cols))));
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace barn
