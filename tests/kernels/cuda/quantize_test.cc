#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "tests/kernels/cuda/cuda_test_util.h"

namespace barn {
namespace {

INSTANTIATE_TEST_SUITE_P(Schedules, OnGpu, testing::Values(0, 1, 2));

struct Result {
  std::vector<int8_t> codes;
  std::vector<gpu::UnitScale> scales;
};

// x lies with `stride` from a row to the next, `offset` floats behind a 256-byte boundary.
Result Quantized(const std::vector<float>& x, int64_t rows, int64_t cols, int64_t stride, int64_t offset) {
  std::vector<float> placed(static_cast<size_t>(offset + rows * stride), NAN);
  for (int64_t r = 0; r < rows; ++r) std::copy_n(x.begin() + r * cols, cols, placed.begin() + offset + r * stride);
  const DeviceArray<float> in(placed);
  const DeviceArray<int8_t> codes(static_cast<size_t>(rows * cols));
  const DeviceArray<gpu::UnitScale> scales(static_cast<size_t>(rows * cols / 32));
  const TestStream stream;
  gpu::Quantize(in.data() + offset, stride,
                {.codes = codes.data(), .scales = scales.data(), .rows = rows, .cols = cols}, stream.get());
  stream.Wait();
  return {codes.Values(), scales.Values()};
}

TEST_P(OnGpu, RoundsToTheNearestOf127Steps) {
  for (const auto& [rows, cols, padding, offset] :
       std::vector<std::array<int64_t, 4>>{{1, 32, 0, 0}, {3, 96, 4, 0}, {5, 1056, 0, 1}, {2, 2048, 3, 2}}) {
    const std::vector<float> x = RandomActivations(rows * cols, 5);
    const Result got = Quantized(x, rows, cols, cols + padding, offset);
    for (size_t unit = 0; unit < got.scales.size(); ++unit) {
      float largest = 0;
      for (size_t i = 0; i < 32; ++i) largest = std::max(largest, std::abs(x[32 * unit + i]));
      ASSERT_EQ(got.scales[unit].scale, largest / 127.0f);
      int sums[2] = {0, 0};
      for (size_t i = 0; i < 32; ++i) {
        const int code = got.codes[32 * unit + i];
        sums[i / 16] += code;
        // Half a step, and what rounding 127 / largest and the product moves a value that lies in the middle.
        ASSERT_LE(std::abs(x[32 * unit + i] / double{got.scales[unit].scale} - code), 0.5 + 127 * 0x1p-22);
      }
      ASSERT_EQ(got.scales[unit].sums[0], sums[0]);
      ASSERT_EQ(got.scales[unit].sums[1], sums[1]);
    }
  }
}

TEST_P(OnGpu, ZerosStayZeroAndWhatIsNoNumberStaysNone) {
  std::vector<float> x(5 * 32, 0.0f);
  x[32] = 1e-31f;
  x[64 + 7] = NAN;
  x[96 + 31] = -std::numeric_limits<float>::infinity();
  x[128] = 127;
  const Result got = Quantized(x, 1, 160, 160, 0);
  EXPECT_EQ(got.scales[0].scale, 0);
  EXPECT_EQ(got.scales[1].scale, 0);
  EXPECT_FALSE(std::isfinite(got.scales[2].scale));
  EXPECT_FALSE(std::isfinite(got.scales[3].scale));
  EXPECT_TRUE(std::isnan(got.scales[2].scale * static_cast<float>(got.codes[64 + 7])));
  EXPECT_EQ(got.scales[4].scale, 1);
  EXPECT_EQ(got.codes[128], 127);
}

}  // namespace
}  // namespace barn
