#include "worker/model/tensor_loader.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace barn {
namespace {

std::string ShapeText(std::span<const int64_t> dims) { return absl::StrCat("[", absl::StrJoin(dims, ", "), "]"); }

// Leftovers of old converters that change no result: precomputed angles, and the plain keys beside the absorbed ones.
bool IsHarmless(std::string_view name) {
  return name.ends_with(".rope_freqs.weight") || name.ends_with(".attn_rot_embd.weight") ||
         name.ends_with(".attn_kv_b.weight");
}

}  // namespace

std::string LayerTensor(int64_t layer, std::string_view tensor) { return absl::StrFormat("blk.%d.%s", layer, tensor); }

void TensorLoader::Fail(const absl::Status& status) {
  if (status_.ok()) {
    status_ = status;
  }
}

const GgufTensor* TensorLoader::Find(std::string_view name, std::span<const int64_t> dims, Presence presence) {
  if (!status_.ok() || presence == Presence::kAbsent) {
    return nullptr;
  }
  const GgufTensor* tensor = model_.FindTensor(name);
  if (tensor == nullptr) {
    if (presence == Presence::kRequired) {
      Fail(absl::InvalidArgumentError(absl::StrFormat("tensor %s is missing", name)));
    }
    return nullptr;
  }
  // Trailing dimensions of 1 are the same tensor.
  for (size_t i = 0; i < 4; ++i) {
    if (tensor->dims[i] != (i < dims.size() ? dims[i] : 1)) {
      Fail(absl::InvalidArgumentError(
          absl::StrFormat("tensor %s has shape %s, want %s", name, ShapeText({tensor->dims, 4}), ShapeText(dims))));
      return nullptr;
    }
  }
  used_.emplace(name);
  return tensor;
}

std::span<const std::byte> TensorLoader::Bytes(const GgufTensor& tensor) {
  auto bytes = source_.Tensor(tensor);
  if (!bytes.ok()) {
    Fail(absl::Status(bytes.status().code(), absl::StrCat("tensor ", tensor.name, ": ", bytes.status().message())));
    return {};
  }
  if (static_cast<int64_t>(bytes->size()) != tensor.size_bytes) {
    Fail(absl::DataLossError(
        absl::StrFormat("tensor %s came as %d bytes, want %d", tensor.name, bytes->size(), tensor.size_bytes)));
    return {};
  }
  return *bytes;
}

const Matrix* TensorLoader::Upload(Device& device, const GgufTensor& tensor, MatrixShape shape, int64_t offset,
                                   std::span<const std::byte> bytes, MatrixUse use) {
  const auto copied = [&source = source_, tensor, offset, begin = bytes.data()](std::span<const std::byte> part) {
    source.Drop(tensor, offset + (part.data() - begin), static_cast<int64_t>(part.size()));
  };
  auto matrix = device.Upload(tensor.dtype, shape, bytes, use, copied);
  if (!matrix.ok()) {
    Fail(absl::Status(matrix.status().code(), absl::StrCat("tensor ", tensor.name, ": ", matrix.status().message())));
    return nullptr;
  }
  loaded_.matrices.push_back(*std::move(matrix));
  return loaded_.matrices.back().get();
}

const Matrix* TensorLoader::RowsOn(Device& device, std::string_view name, MatrixShape shape, Span rows,
                                   Presence presence, MatrixUse use) {
  const int64_t dims[] = {shape.cols, shape.rows, shape.count};
  const GgufTensor* tensor = Find(name, dims, presence);
  if (tensor == nullptr) {
    return nullptr;
  }
  const std::span<const std::byte> bytes = Bytes(*tensor);
  if (!status_.ok()) {
    return nullptr;
  }
  // The shape is that of a tensor in a file, so these products are bounded by its size.
  const int64_t row_bytes = tensor->size_bytes / (shape.count * shape.rows);
  const int64_t offset = rows.first * row_bytes;
  const int64_t length = ((shape.count - 1) * shape.rows + rows.count) * row_bytes;
  const MatrixShape part = {.count = shape.count, .rows = rows.count, .cols = shape.cols, .stored_rows = shape.rows};
  const ::barn::Matrix* matrix = Upload(device, *tensor, part, offset,
                                        bytes.subspan(static_cast<size_t>(offset), static_cast<size_t>(length)), use);
  const bool looked_up = use == MatrixUse::kRows && name == "token_embd.weight";
  if (matrix != nullptr && shape.count == 1 && (use == MatrixUse::kProducts || looked_up)) {
    loaded_.origins.push_back({.tensor = std::string(name), .rows = rows, .matrix = matrix, .looked_up = looked_up});
  }
  return matrix;
}

const Matrix* TensorLoader::ExactMatrix(std::string_view name, MatrixShape shape, Span rows) {
  const ::barn::Matrix* matrix = MatrixRows(name, shape, rows);
  if (matrix == nullptr) {
    return nullptr;
  }
  const DType dtype = matrix->dtype();
  if (dtype != DType::kF32 && dtype != DType::kF16 && dtype != DType::kBF16) {
    Fail(absl::InvalidArgumentError(absl::StrFormat("tensor %s is %s, want F32, F16 or BF16", name, Info(dtype).name)));
    return nullptr;
  }
  return matrix;
}

std::span<const std::byte> TensorLoader::Floats(std::string_view name, std::span<const int64_t> dims,
                                                Presence presence) {
  const GgufTensor* tensor = Find(name, dims, presence);
  if (tensor == nullptr) {
    return {};
  }
  if (tensor->dtype != DType::kF32) {
    Fail(absl::InvalidArgumentError(absl::StrFormat("tensor %s is %s, want F32", name, Info(tensor->dtype).name)));
    return {};
  }
  return Bytes(*tensor);
}

const float* TensorLoader::ColumnsOn(Device& device, std::string_view name, int64_t rows, int64_t cols, Span columns,
                                     Presence presence) {
  const int64_t dims[] = {cols, rows};
  const std::span<const std::byte> bytes = Floats(name, dims, presence);
  if (bytes.empty()) {
    return nullptr;
  }
  auto buffer = device.Allocate(rows * columns.count);
  if (!buffer.ok()) {
    Fail(buffer.status());
    return nullptr;
  }
  std::vector<float> values(static_cast<size_t>(rows * columns.count));
  for (int64_t row = 0; row < rows; ++row) {
    std::memcpy(values.data() + row * columns.count, bytes.data() + (row * cols + columns.first) * sizeof(float),
                columns.count * sizeof(float));
  }
  device.CopyFromHost(values,
                      {.data = (*buffer)->data(), .rows = rows, .cols = columns.count, .stride = columns.count});
  loaded_.vectors.push_back(*std::move(buffer));
  return loaded_.vectors.back()->data();
}

const float* TensorLoader::Keep(std::span<const float> values) {
  const auto count = static_cast<int64_t>(values.size());
  auto buffer = device_.Allocate(count);
  if (!buffer.ok()) {
    Fail(buffer.status());
    return nullptr;
  }
  device_.CopyFromHost(values, {.data = (*buffer)->data(), .rows = 1, .cols = count, .stride = count});
  loaded_.vectors.push_back(*std::move(buffer));
  return loaded_.vectors.back()->data();
}

std::vector<float> TensorLoader::HostVector(std::string_view name, int64_t size, Presence presence) {
  const std::span<const std::byte> bytes = Floats(name, {&size, 1}, presence);
  std::vector<float> floats(bytes.size() / sizeof(float));
  if (!floats.empty()) {
    std::memcpy(floats.data(), bytes.data(), bytes.size());
  }
  return floats;
}

std::vector<const Matrix*> TensorLoader::Split(std::string_view name, std::span<const MatrixPart> parts, int64_t cols) {
  std::vector<const ::barn::Matrix*> matrices(parts.size(), nullptr);
  int64_t rows = 0;
  for (const MatrixPart& part : parts) {
    rows += part.rows;
  }
  const MatrixShape shape = {.count = 1, .rows = rows, .cols = cols};
  int64_t first = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    matrices[i] = MatrixRows(name, shape, {.first = first + parts[i].wanted.first, .count = parts[i].wanted.count});
    first += parts[i].rows;
  }
  return matrices;
}

void TensorLoader::RequireLayerUsed(int64_t layer) {
  const std::string prefix = LayerTensor(layer, "");
  for (const GgufTensor& tensor : model_.tensors()) {
    if (tensor.name.starts_with(prefix) && !used_.contains(tensor.name) && !IsHarmless(tensor.name)) {
      Fail(absl::InvalidArgumentError(
          absl::StrFormat("tensor %s is not one that architecture %s uses here", tensor.name, model_.architecture())));
    }
  }
}

}  // namespace barn
