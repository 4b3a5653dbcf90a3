#include <cmath>
#include <string>
#include <vector>

#include "kernels/cuda/norm.h"
#include "tests/kernels/cuda/rows_test_util.h"
#include "tests/kernels/random_weights.h"

namespace barn {
namespace {

INSTANTIATE_TEST_SUITE_P(Schedules, OnGpu, testing::Values(0, 1, 2));

struct Case {
  int64_t rows, cols;
  bool subtract_mean = false, weight = false, bias = false, add = false, in_place = false;
  Placement place = {};
};

void ExpectNorm(const Case& c) {
  SCOPED_TRACE(std::to_string(c.rows) + " x " + std::to_string(c.cols) + (c.subtract_mean ? " layer" : " rms") +
               (c.add ? " add" : "") + ", gap " + std::to_string(c.place.gap));
  constexpr float kEps = 1e-5f;
  std::vector<float> x = RandomActivations(c.rows * c.cols, 1);
  const std::vector<float> add = RandomActivations(c.rows * c.cols, 2);
  const std::vector<float> weight = RandomActivations(c.cols, 3);
  const std::vector<float> bias = RandomActivations(c.cols, 4);
  const PlacedRows on_x(x, c.rows, c.cols, c.place);
  const PlacedRows on_add(add, c.rows, c.cols, {});
  const PlacedRows out(std::vector<float>(x.size(), NAN), c.rows, c.cols, c.place);
  const DeviceArray<float> on_weight(weight), on_bias(bias);
  const TestStream stream;
  gpu::Norm({.x = on_x.view(),
             .add = c.add ? on_add.view() : gpu::Rows{},
             .weight = c.weight ? on_weight.data() : nullptr,
             .bias = c.bias ? on_bias.data() : nullptr,
             .epsilon = kEps,
             .subtract_mean = c.subtract_mean,
             .out = c.in_place ? on_x.view() : out.view()},
            stream.get());
  stream.Wait();
  if (c.add) {
    for (size_t i = 0; i < x.size(); ++i) x[i] += add[i];
    ASSERT_EQ(on_x.Values(), x);
  }
  const std::vector<float> got = c.in_place ? on_x.Values() : out.Values();
  for (int64_t r = 0; r < c.rows; ++r) {
    const float* row = x.data() + r * c.cols;
    double mean = 0;
    double largest = 0;
    for (int64_t i = 0; i < c.cols; ++i) {
      mean += row[i] / static_cast<double>(c.cols);
      largest = std::max(largest, std::abs(double{row[i]}));
    }
    if (!c.subtract_mean) mean = 0;
    double squares = 0;
    for (int64_t i = 0; i < c.cols; ++i) squares += (row[i] - mean) * (row[i] - mean);
    const double scale = 1 / std::sqrt(squares / static_cast<double>(c.cols) + kEps);
    // A thread adds cols / 32 terms or fewer, then come five steps between lanes and eight between warps.
    const double roundings = (20 + static_cast<double>(c.cols) / 32) * 0x1p-24;
    for (int64_t i = 0; i < c.cols; ++i) {
      const double w = c.weight ? weight[static_cast<size_t>(i)] : 1;
      const double b = c.bias ? bias[static_cast<size_t>(i)] : 0;
      const double want = (row[i] - mean) * scale * w + b;
      ASSERT_LE(std::abs(got[static_cast<size_t>(r * c.cols + i)] - want),
                roundings * (std::abs(w) * scale * (std::abs(row[i]) + largest) + std::abs(b)))
          << "row " << r << " column " << i;
    }
  }
}

TEST_P(OnGpu, NormsMatchExactArithmetic) {
  for (const bool subtract_mean : {false, true}) {
    for (const int64_t cols : {1, 3, 64, 130, 512, 513, 1024, 2050}) {
      for (const Placement place : kPlacements) {
        ExpectNorm({.rows = 3, .cols = cols, .subtract_mean = subtract_mean, .weight = true, .place = place});
      }
      ExpectNorm({.rows = 9, .cols = cols, .subtract_mean = subtract_mean, .bias = true, .add = true});
      ExpectNorm({.rows = 1, .cols = cols, .subtract_mean = subtract_mean, .in_place = true});
    }
  }
}

TEST_P(OnGpu, RowDoesNotDependOnItsNeighbours) {
  for (const int64_t cols : {96, 1000}) {
    const std::vector<float> x = RandomActivations(11 * cols, 8);
    const auto normed = [&](int64_t first, int64_t rows) {
      const PlacedRows part(std::vector<float>(x.begin() + first * cols, x.begin() + (first + rows) * cols), rows, cols,
                            {});
      const TestStream stream;
      gpu::Norm({.x = part.view(), .add = {}, .epsilon = 1e-6f, .out = part.view()}, stream.get());
      stream.Wait();
      return part.Values();
    };
    const std::vector<float> all = normed(0, 11);
    const std::vector<float> one = normed(10, 1);
    EXPECT_TRUE(std::equal(one.begin(), one.end(), all.begin() + 10 * cols));
  }
}

}  // namespace
}  // namespace barn
