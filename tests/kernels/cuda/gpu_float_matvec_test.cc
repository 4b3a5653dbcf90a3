#include <cmath>
#include <string>
#include <vector>

#include "kernels/cuda/float_matvec.h"
#include "tests/kernels/cuda/cuda_test_util.h"
#include "tests/kernels/cuda/rows_test_util.h"

namespace barn {
namespace {

INSTANTIATE_TEST_SUITE_P(Schedules, OnGpu, testing::Values(0, 1, 2));

constexpr DType kTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

std::vector<std::byte> Weights(DType dtype, int64_t rows, int64_t cols) { return RandomWeights(dtype, rows, cols, 4); }

// A lane adds cols / 32 products or fewer, five steps between lanes follow, and the bias.
void ExpectClose(float got, const float* w, const float* x, double bias, int64_t cols) {
  double want = bias;
  double magnitude = std::abs(bias);
  for (int64_t k = 0; k < cols; ++k) {
    want += double{w[k]} * x[k];
    magnitude += std::abs(double{w[k]} * x[k]);
  }
  ASSERT_LE(std::abs(got - want), (8 + static_cast<double>(cols) / 32) * 0x1p-24 * magnitude);
}

TEST_P(OnGpu, FloatProductsMatchExactArithmetic) {
  for (const DType dtype : kTypes) {
    for (const int64_t cols : {1, 30, 64, 132, 515}) {
      for (const int64_t tokens : {1, 3, 4, 9}) {
        for (const Placement place : {Placement{}, Placement{.gap = 1}}) {
          SCOPED_TRACE(std::string(Info(dtype).name) + ", " + std::to_string(cols) + " columns, " +
                       std::to_string(tokens) + " tokens");
          constexpr int64_t kRows = 6;
          const std::vector<std::byte> bytes = Weights(dtype, kRows, cols);
          const UploadedWeight weight(dtype, 1, kRows, cols, bytes);
          const std::vector<float> w = DecodeAll(dtype, kRows, cols, bytes);
          const std::vector<float> x = RandomActivations(tokens * cols, 5);
          const std::vector<float> bias = RandomActivations(kRows, 6);
          const PlacedRows on_x(x, tokens, cols, place);
          const PlacedRows out(std::vector<float>(static_cast<size_t>(tokens * kRows), NAN), tokens, kRows, place);
          const DeviceArray<float> on_bias(bias);
          const TestStream stream;
          gpu::FloatMatVec({.weight = weight.view(),
                            .x = on_x.view(),
                            .out = out.view(),
                            .bias = place.gap == 0 ? on_bias.data() : nullptr},
                           stream.get());
          stream.Wait();
          const std::vector<float> got = out.Values();
          for (int64_t i = 0; i < tokens * kRows; ++i) {
            const int64_t r = i % kRows;
            ExpectClose(got[static_cast<size_t>(i)], w.data() + r * cols, x.data() + i / kRows * cols,
                        place.gap == 0 ? bias[static_cast<size_t>(r)] : 0, cols);
          }
        }
      }
    }
  }
}

TEST_P(OnGpu, RoutedFloatProductsMeetTheirExperts) {
  constexpr int64_t kExperts = 3, kRows = 5, kCols = 36, kTokens = 3, kEach = 2;
  const std::vector<int32_t> routes = {2, 0, -1, 1, 1, 2};
  const DeviceArray<int32_t> experts(routes);
  const std::vector<float> bias = RandomActivations(kExperts * kRows, 6);
  const DeviceArray<float> on_bias(bias);
  for (const DType dtype : kTypes) {
    const std::vector<std::byte> bytes = Weights(dtype, kExperts * kRows, kCols);
    const UploadedWeight weight(dtype, kExperts, kRows, kCols, bytes);
    const std::vector<float> w = DecodeAll(dtype, kExperts * kRows, kCols, bytes);
    for (const int64_t per_row : {kEach, int64_t{1}}) {
      const int64_t x_rows = kTokens * kEach / per_row;
      const std::vector<float> x = RandomActivations(x_rows * kCols, 5);
      const PlacedRows on_x(x, x_rows, kCols, {});
      const PlacedRows out(std::vector<float>(kTokens * kEach * kRows, NAN), kTokens * kEach, kRows, {.gap = 2});
      const TestStream stream;
      gpu::RoutedFloatMatVec({.weight = weight.view(), .x = on_x.view(), .out = out.view(), .bias = on_bias.data()},
                             experts.data(), kTokens * kEach, per_row, stream.get());
      stream.Wait();
      const std::vector<float> got = out.Values();
      for (int64_t i = 0; i < kTokens * kEach * kRows; ++i) {
        const int64_t pair = i / kRows;
        const int64_t row = routes[static_cast<size_t>(pair)] * kRows + i % kRows;
        if (row < 0) {
          ASSERT_EQ(got[static_cast<size_t>(i)], 0);
        } else {
          ExpectClose(got[static_cast<size_t>(i)], w.data() + row * kCols, x.data() + pair / per_row * kCols,
                      bias[static_cast<size_t>(row)], kCols);
        }
      }
    }
  }
}

}  // namespace
}  // namespace barn
