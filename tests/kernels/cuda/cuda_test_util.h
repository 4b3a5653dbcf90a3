#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/cuda/activation_planes.h"
#include "kernels/cuda/quantize.h"
#include "kernels/cuda/weight_planes.h"
#include "kernels/formats/decode.h"
#include "kernels/formats/dtype.h"
#include "tests/kernels/random_weights.h"
#include "tests/simt/simt_test_util.h"

namespace barn {

// A weight in the planes of its format, on the device. bytes: rows as a file has them, count * rows of them.
class UploadedWeight {
 public:
  UploadedWeight(DType dtype, int64_t count, int64_t rows, int64_t cols, std::span<const std::byte> bytes) {
    const gpu::PlaneLayout& layout = *gpu::FindPlaneLayout(dtype);
    const gpu::PlaneOffsets placed = gpu::PlacePlanes(layout, count * rows, cols);
    std::vector<std::byte> host(static_cast<size_t>(placed.bytes));
    for (int64_t r = 0; r < count * rows; ++r) {
      std::byte* planes[gpu::kMaxPlanes] = {};
      for (int i = 0; i < layout.count; ++i) {
        planes[i] = host.data() + placed.offset[i] + r * gpu::PlaneRowBytes(layout, i, cols);
      }
      gpu::SplitRow(dtype, bytes.data() + r * RowBytes(dtype, cols), cols, planes);
    }
    memory_ = std::make_unique<DeviceArray<std::byte>>(host);
    view_ = {.dtype = dtype, .count = count, .rows = rows, .cols = cols};
    for (int i = 0; i < layout.count; ++i) view_.planes[i] = memory_->data() + placed.offset[i];
    const gpu::GridTable grid = gpu::FindGridTable(dtype);
    if (grid.bytes > 0) {
      const auto* points = static_cast<const std::byte*>(grid.points);
      grid_ = std::make_unique<DeviceArray<std::byte>>(std::vector<std::byte>(points, points + grid.bytes));
      view_.grid = grid_->data();
    }
  }
  const gpu::DeviceWeight& view() const { return view_; }

 private:
  std::unique_ptr<DeviceArray<std::byte>> memory_, grid_;
  gpu::DeviceWeight view_;
};

// Rows of activations, rounded on the device.
class QuantizedActivations {
 public:
  QuantizedActivations(const std::vector<float>& x, int64_t rows, int64_t cols)
      : codes_(static_cast<size_t>(rows * cols)), scales_(static_cast<size_t>(rows * cols / 32)) {
    view_ = {.codes = codes_.data(), .scales = scales_.data(), .rows = rows, .cols = cols};
    const DeviceArray<float> values(x);
    const TestStream stream;
    gpu::Quantize(values.data(), cols, view_, stream.get());
    stream.Wait();
  }
  const gpu::ActivationPlanes& view() const { return view_; }
  // What the codes stand for.
  std::vector<double> Values() const {
    const std::vector<int8_t> codes = codes_.Values();
    const std::vector<gpu::UnitScale> scales = scales_.Values();
    std::vector<double> values(codes.size());
    for (size_t i = 0; i < codes.size(); ++i) values[i] = static_cast<double>(scales[i / 32].scale) * codes[i];
    return values;
  }

 private:
  DeviceArray<int8_t> codes_;
  DeviceArray<gpu::UnitScale> scales_;
  gpu::ActivationPlanes view_;
};

inline std::vector<float> DecodeAll(DType dtype, int64_t rows, int64_t cols, std::span<const std::byte> bytes) {
  std::vector<float> values(static_cast<size_t>(rows * cols));
  for (int64_t r = 0; r < rows; ++r) {
    DecodeRow(dtype, bytes.data() + r * RowBytes(dtype, cols), values.data() + r * cols, cols);
  }
  return values;
}

// What a code's offset adds to the size of the terms of a sum: a weight of a unit whose largest is W is scale * code +
// min with both parts at most twice (Q4_0: 8 of codes to 15) or, where scales are signed and codes one-sided, thrice W.
// Random codes fill their range, so the largest of 256 columns stands for the scale.
inline double LargestOf(const float* w, int64_t at, int64_t cols) {
  const int64_t first = at / 256 * 256;
  double largest = 0;
  for (int64_t k = first; k < std::min(first + 256, cols); ++k) largest = std::max(largest, std::abs(double{w[k]}));
  return largest;
}

}  // namespace barn
