#include "kernels/cuda/weight_upload.h"

#include <algorithm>
#include <vector>

#include "kernels/check.h"
#include "kernels/cuda/runtime.h"

namespace barn::gpu {
namespace {

constexpr int64_t kStagingBytes = 8 << 20;

}  // namespace

DeviceWeight PlaceWeight(DType dtype, int64_t count, int64_t rows, int64_t cols, std::byte* device, const void* grid) {
  const PlaneLayout* layout = FindPlaneLayout(dtype);
  BARN_CHECK(layout != nullptr);
  const PlaneOffsets placed = PlacePlanes(*layout, count * rows, cols);
  DeviceWeight weight = {.dtype = dtype, .count = count, .rows = rows, .cols = cols, .grid = grid};
  for (int i = 0; i < layout->count; ++i) weight.planes[i] = device + placed.offset[i];
  return weight;
}

absl::Status UploadRows(const DeviceWeight& weight, int64_t first_row, std::span<const std::byte> bytes) {
  const PlaneLayout* layout = FindPlaneLayout(weight.dtype);
  BARN_CHECK(layout != nullptr);
  const int64_t file_row_bytes = RowBytes(weight.dtype, weight.cols);
  const int64_t rows = static_cast<int64_t>(bytes.size()) / file_row_bytes;
  BARN_CHECK(static_cast<int64_t>(bytes.size()) == rows * file_row_bytes);
  BARN_CHECK(first_row >= 0 && first_row + rows <= weight.count * weight.rows);
  const int64_t step = std::clamp<int64_t>(kStagingBytes / file_row_bytes, 1, std::max<int64_t>(rows, 1));
  std::vector<std::byte> staging[kMaxPlanes];
  for (int i = 0; i < layout->count; ++i) {
    staging[i].resize(static_cast<size_t>(step * PlaneRowBytes(*layout, i, weight.cols)));
  }
  for (int64_t at = 0; at < rows; at += step) {
    const int64_t count = std::min(step, rows - at);
    for (int64_t r = 0; r < count; ++r) {
      std::byte* planes[kMaxPlanes] = {};
      for (int i = 0; i < layout->count; ++i) {
        planes[i] = staging[i].data() + r * PlaneRowBytes(*layout, i, weight.cols);
      }
      SplitRow(weight.dtype, bytes.data() + (at + r) * file_row_bytes, weight.cols, planes);
    }
    for (int i = 0; i < layout->count; ++i) {
      const int64_t row_bytes = PlaneRowBytes(*layout, i, weight.cols);
      // What the planes point to is read-only for kernels only.
      auto* to = const_cast<std::byte*>(weight.planes[i]) + (first_row + at) * row_bytes;
      const absl::Status copied = Upload(to, staging[i].data(), static_cast<size_t>(count * row_bytes));
      if (!copied.ok()) return copied;
    }
  }
  return absl::OkStatus();
}

}  // namespace barn::gpu
