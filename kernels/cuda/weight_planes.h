#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/formats/dtype.h"

// How weights lie on a GPU. A block of most formats is no multiple of 16 bytes, so a row is split where it is uploaded
// into planes (codes, further bits, scales), each of which threads load in wide pieces that are next to each other. The
// bytes are those of the file in another order, none more: what each plane holds is written in weight_planes.cc, and
// how it becomes numbers in weight_formats.h and grid_formats.h.
namespace barn::gpu {

inline constexpr int kMaxPlanes = 4;
inline constexpr int64_t kUnitColumns = 32;    // A unit: what one integer product sums.
inline constexpr int64_t kSuperColumns = 256;  // A super-block of the K and IQ formats.

// Plane i of a row has bytes[i] for each columns[i] columns.
struct PlaneLayout {
  DType dtype;
  int count;
  int bytes[kMaxPlanes];
  int columns[kMaxPlanes];
};

// Null: the format has no kernels here.
const PlaneLayout* FindPlaneLayout(DType dtype);

// Bytes of plane i for one row. cols is a multiple of the format's block.
int64_t PlaneRowBytes(const PlaneLayout& layout, int plane, int64_t cols);

// Where the planes of `rows` rows lie in one piece of device memory, from multiples of 256 on.
struct PlaneOffsets {
  int64_t offset[kMaxPlanes] = {};
  int64_t bytes = 0;  // Of all.
};
PlaneOffsets PlacePlanes(const PlaneLayout& layout, int64_t rows, int64_t cols);

// Splits one row of a file: RowBytes(dtype, cols) bytes at any alignment. planes[i]: PlaneRowBytes bytes.
void SplitRow(DType dtype, const std::byte* row, int64_t cols, std::byte* const (&planes)[kMaxPlanes]);

// The table of points of an IQ1, IQ2 or IQ3 format, to be copied to the device once; empty for all others.
struct GridTable {
  const void* points = nullptr;
  size_t bytes = 0;
};
GridTable FindGridTable(DType dtype);

// A weight on the device: count matrices of rows x cols, one behind the other in each plane.
struct DeviceWeight {
  DType dtype = DType::kF32;
  int64_t count = 1;
  int64_t rows = 0;
  int64_t cols = 0;
  const std::byte* planes[kMaxPlanes] = {};
  const void* grid = nullptr;  // The format's table of points, or null.
};

}  // namespace barn::gpu
