#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/cuda/activation_planes.h"
#include "kernels/cuda/quantize.h"
#include "kernels/cuda/weight_planes.h"
#include "kernels/cuda/weight_upload.h"
#include "kernels/formats/decode.h"
#include "kernels/formats/dtype.h"
#include "tests/kernels/cuda/device_array.h"
#include "tests/kernels/cuda/on_gpu.h"
#include "tests/kernels/random_weights.h"

namespace barn {

// A weight in the planes of its format, on the device. bytes: rows as a file has them, count * rows of them.
class UploadedWeight {
 public:
  UploadedWeight(DType dtype, int64_t count, int64_t rows, int64_t cols, std::span<const std::byte> bytes) {
    const gpu::PlaneOffsets placed = gpu::PlacePlanes(*gpu::FindPlaneLayout(dtype), count * rows, cols);
    memory_ = std::make_unique<DeviceArray<std::byte>>(static_cast<size_t>(placed.bytes));
    const gpu::GridTable grid = gpu::FindGridTable(dtype);
    if (grid.bytes > 0) {
      const auto* points = static_cast<const std::byte*>(grid.points);
      grid_ = std::make_unique<DeviceArray<std::byte>>(std::vector<std::byte>(points, points + grid.bytes));
    }
    view_ = gpu::PlaceWeight(dtype, count, rows, cols, memory_->data(), grid_ == nullptr ? nullptr : grid_->data());
    // In two parts, as a worker might fetch them.
    const int64_t first_part = count * rows / 2;
    const auto split = static_cast<size_t>(first_part * RowBytes(dtype, cols));
    const auto all = static_cast<size_t>(count * rows * RowBytes(dtype, cols));
    EXPECT_TRUE(gpu::UploadRows(view_, 0, bytes.first(split)).ok());
    EXPECT_TRUE(gpu::UploadRows(view_, first_part, bytes.subspan(split, all - split)).ok());
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

// The product of a row of weights and of activations, and what a kernel may differ from it.
struct ExactProduct {
  double value = 0;
  double tolerance = 0;

  // A bias, rounded once.
  void Add(double bias) {
    value += bias;
    tolerance += std::abs(value) * 0x1p-23;
  }
};

// The largest weight of columns [first, end). Random codes fill their range.
inline double LargestOf(const float* w, int64_t first, int64_t end) {
  double largest = 0;
  for (int64_t k = first; k < end; ++k) largest = std::max(largest, std::abs(double{w[k]}));
  return largest;
}

// additions: floats that the kernel sums one after the other; each rounds by 2^-24 of what it has so far, and a unit's
// own arithmetic five times more. A weight is scale * code + min, whose parts may be larger than their sum: at most
// four times the largest weight of the super-block, since random codes fill their range.
inline ExactProduct ProductOf(const float* w, const double* x, int64_t cols, int64_t additions) {
  ExactProduct product;
  double magnitude = 0;
  for (int64_t first = 0; first < cols; first += 256) {
    const int64_t end = std::min(first + 256, cols);
    double x_sum = 0;
    for (int64_t k = first; k < end; ++k) {
      product.value += w[k] * x[k];
      x_sum += std::abs(x[k]);
    }
    magnitude += 4 * LargestOf(w, first, end) * x_sum;
  }
  product.tolerance = static_cast<double>(6 + additions) * 0x1p-24 * magnitude;
  return product;
}

}  // namespace barn
