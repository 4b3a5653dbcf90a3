#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/cuda/rows.h"
#include "tests/kernels/cuda/device_array.h"
#include "tests/kernels/cuda/on_gpu.h"

namespace barn {

// How rows lie in memory: floats between them, and before the first.
struct Placement {
  int64_t gap = 0;
  int64_t offset = 0;
};
inline constexpr Placement kPlacements[] = {{}, {.gap = 4}, {.gap = 3}, {.offset = 1}};

// Rows on the device, NaN between them.
class PlacedRows {
 public:
  PlacedRows(const std::vector<float>& values, int64_t rows, int64_t cols, Placement place)
      : memory_(Place(values, rows, cols, place)) {
    view_ = {.data = memory_.data() + place.offset, .rows = rows, .cols = cols, .stride = cols + place.gap};
    offset_ = place.offset;
  }
  gpu::Rows view() const { return view_; }
  // [rows * cols]; fails where something was written beside the rows.
  std::vector<float> Values() const {
    const std::vector<float> all = memory_.Values();
    std::vector<float> values;
    for (int64_t i = 0; i < static_cast<int64_t>(all.size()); ++i) {
      const int64_t at = i - offset_;
      const bool inside = at >= 0 && at % view_.stride < view_.cols && at / view_.stride < view_.rows;
      if (inside) {
        values.push_back(all[static_cast<size_t>(i)]);
      } else {
        EXPECT_TRUE(std::isnan(all[static_cast<size_t>(i)])) << "float " << i;
      }
    }
    return values;
  }

 private:
  static std::vector<float> Place(const std::vector<float>& values, int64_t rows, int64_t cols, Placement place) {
    const int64_t stride = cols + place.gap;
    std::vector<float> all(static_cast<size_t>(place.offset + rows * stride), NAN);
    for (int64_t r = 0; r < rows; ++r) {
      std::copy_n(values.begin() + r * cols, cols, all.begin() + place.offset + r * stride);
    }
    return all;
  }

  DeviceArray<float> memory_;
  gpu::Rows view_;
  int64_t offset_ = 0;
};

}  // namespace barn
