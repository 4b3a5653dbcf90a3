#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "kernels/cuda/weight_planes.h"

namespace barn::gpu {

// Splits rows of a file and copies their planes to the device, some megabytes of host memory at a time. bytes: rows of
// RowBytes(weight.dtype, weight.cols) each, which become rows first_row onwards of the weight's count * rows.
// weight.planes: as PlacePlanes lays them out. Errors are those of the copy.
absl::Status UploadRows(const DeviceWeight& weight, int64_t first_row, std::span<const std::byte> bytes);

// The weight whose planes begin at `device`, PlacePlanes(..).bytes of memory. grid: FindGridTable's, on the device.
DeviceWeight PlaceWeight(DType dtype, int64_t count, int64_t rows, int64_t cols, std::byte* device, const void* grid);

}  // namespace barn::gpu
