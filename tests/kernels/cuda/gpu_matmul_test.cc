#include "kernels/cuda/matmul.h"

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "tests/kernels/cuda/product_check.h"

namespace barn {
namespace {

INSTANTIATE_TEST_SUITE_P(Schedules, OnGpu, testing::Values(0, 1, 2));

// A row is summed unit by unit.
int64_t Additions(int64_t cols) { return cols / 32; }
ExactProduct RowProduct(const std::vector<float>& w, int64_t row, const std::vector<double>& x, int64_t x_row,
                        int64_t cols) {
  return ProductOf(w.data() + row * cols, x.data() + x_row * cols, cols, Additions(cols));
}

void ExpectProducts(DType dtype, int64_t rows, int64_t cols, int64_t tokens, bool with_bias) {
  ExpectExactProducts(gpu::MatMul,
                      {.dtype = dtype, .rows = rows, .cols = cols, .tokens = tokens, .with_bias = with_bias},
                      Additions(cols));
}

TEST_P(OnGpu, MatchesExactArithmeticForEveryFormat) {
  for (const DType dtype : kInt8Types) {
    const int64_t block = Info(dtype).block_elements;
    ExpectProducts(dtype, 37, block == 32 ? 224 : 256, 9, true);
  }
}

TEST_P(OnGpu, EveryRemainderOfRowsTokensAndColumns) {
  for (const int64_t tokens : {1, 8, 9, 15, 16, 17, 63, 64, 65, 83}) ExpectProducts(DType::kQ8_0, 5, 64, tokens, false);
  for (const int64_t rows : {1, 15, 16, 17, 127, 128, 129, 143}) ExpectProducts(DType::kQ4_0, rows, 32, 10, true);
  for (int64_t units = 1; units <= 13; ++units) ExpectProducts(DType::kQ5_0, 3, 32 * units, 20, false);
  ExpectProducts(DType::kQ6_K, 130, 512, 70, true);
  ExpectProducts(DType::kIQ1_M, 19, 768, 66, false);
}

TEST_P(OnGpu, ARowDoesNotDependOnTheOthers) {
  constexpr int64_t kRows = 20, kCols = 320, kTokens = 70;
  const std::vector<std::byte> bytes = RandomWeights(DType::kQ5_1, kRows, kCols, 44);
  const UploadedWeight weight(DType::kQ5_1, 1, kRows, kCols, bytes);
  const std::vector<float> values = RandomActivations(kTokens * kCols, 45);
  std::vector<float> first;
  for (const int64_t tokens : {kTokens, int64_t{12}}) {  // In tiles of 64 and of 16.
    const QuantizedActivations x(std::vector<float>(values.begin(), values.begin() + tokens * kCols), tokens, kCols);
    const DeviceArray<float> out(static_cast<size_t>(tokens * kRows));
    const TestStream stream;
    gpu::MatMul({.weight = weight.view(), .x = x.view(), .out = out.data(), .out_stride = kRows}, stream.get());
    stream.Wait();
    std::vector<float> got = out.Values();
    got.resize(12 * kRows);
    if (first.empty()) first = got;
    EXPECT_EQ(got, first);
  }
}

// Every pair of the routes against its expert; what has none keeps what was there.
void ExpectRouted(const std::vector<int32_t>& routes, int64_t experts, int64_t per_row) {
  constexpr int64_t kRows = 21, kCols = 256;
  const auto count = static_cast<int64_t>(routes.size());
  const std::vector<std::byte> bytes = RandomWeights(DType::kQ4_K, experts * kRows, kCols, 51);
  const UploadedWeight weight(DType::kQ4_K, experts, kRows, kCols, bytes);
  const std::vector<float> w = DecodeAll(DType::kQ4_K, experts * kRows, kCols, bytes);
  const std::vector<float> bias_values = RandomActivations(experts * kRows, 53);
  const DeviceArray<float> bias(bias_values);
  const QuantizedActivations x(RandomActivations(count / per_row * kCols, 52), count / per_row, kCols);
  const std::vector<double> values = x.Values();

  const int64_t tile = gpu::RoutedTilePairs(count, experts);
  const DeviceArray<int32_t> in(routes), bounds(static_cast<size_t>(experts + 1)), pairs(routes.size());
  const DeviceArray<gpu::RouteTile> tiles(static_cast<size_t>(gpu::MaxRouteTiles(count, experts, tile)));
  const gpu::SortedRoutes sorted = {.bounds = bounds.data(),
                                    .pairs = pairs.data(),
                                    .tiles = tiles.data(),
                                    .experts = experts,
                                    .pair_count = count,
                                    .tile_pairs = tile};
  const DeviceArray<float> out(static_cast<size_t>(count * kRows));
  const TestStream stream;
  gpu::SortRoutes(in.data(), sorted, stream.get());
  gpu::RoutedMatMul(
      {.weight = weight.view(), .x = x.view(), .out = out.data(), .out_stride = kRows, .bias = bias.data()}, sorted,
      per_row, stream.get());
  stream.Wait();
  const std::vector<float> got = out.Values();
  for (int64_t p = 0; p < count; ++p) {
    const int32_t expert = routes[static_cast<size_t>(p)];
    for (int64_t r = 0; r < kRows; ++r) {
      const float value = got[static_cast<size_t>(p * kRows + r)];
      if (expert < 0) {
        ASSERT_TRUE(std::isnan(value));
        continue;
      }
      ExactProduct expected = RowProduct(w, expert * kRows + r, values, p / per_row, kCols);
      expected.Add(bias_values[static_cast<size_t>(expert * kRows + r)]);
      ASSERT_LE(std::abs(value - expected.value), expected.tolerance) << "pair " << p << " row " << r;
    }
  }
}

TEST_P(OnGpu, RoutedPairsMeetTheirExperts) {
  std::mt19937 random(6);
  for (const auto& [count, experts, per_row] :
       std::vector<std::array<int64_t, 3>>{{24, 5, 2}, {24, 5, 1}, {160, 3, 4}, {150, 2, 1}}) {
    std::vector<int32_t> routes(static_cast<size_t>(count));
    for (int32_t& e : routes) e = static_cast<int32_t>(random() % static_cast<uint32_t>(experts + 1)) - 1;
    ExpectRouted(routes, experts, per_row);
  }
}

}  // namespace
}  // namespace barn
