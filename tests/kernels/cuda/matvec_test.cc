#include "kernels/cuda/matvec.h"

#include <cmath>
#include <string>
#include <vector>

#include "tests/kernels/cuda/product_check.h"
#include "tests/kernels/quant_oracle.h"

namespace barn {
namespace {

// A lane sums every fourth unit or fewer, then five steps go between lanes.
int64_t Additions(int64_t cols) { return cols / 128 + 5; }
ExactProduct Product(const float* w, const double* x, int64_t cols) { return ProductOf(w, x, cols, Additions(cols)); }

INSTANTIATE_TEST_SUITE_P(Schedules, OnGpu, testing::Values(0, 1, 2));

void ExpectProducts(DType dtype, int64_t rows, int64_t cols, int64_t tokens, bool with_bias) {
  ExpectExactProducts(gpu::MatVec,
                      {.dtype = dtype, .rows = rows, .cols = cols, .tokens = tokens, .with_bias = with_bias},
                      Additions(cols));
}

TEST_P(OnGpu, MatchesExactArithmeticForEveryFormat) {
  for (const DType dtype : kInt8Types) {
    const int64_t block = Info(dtype).block_elements;
    ExpectProducts(dtype, 13, 5 * block, 1, true);
    ExpectProducts(dtype, 5, block == 32 ? 1056 : 1280, 3, false);
  }
}

TEST_P(OnGpu, EveryNumberOfColumnsAndRows) {
  for (int64_t tokens = 1; tokens <= gpu::kMatVecColumnsMax; ++tokens) {
    ExpectProducts(DType::kQ4_K, 7, 512, tokens, true);
    ExpectProducts(DType::kQ8_0, 3, 96, tokens, false);
  }
  for (int64_t rows = 1; rows <= 19; ++rows) ExpectProducts(DType::kQ4_0, rows, 32 * (rows + 1), 1, false);
  for (int64_t units = 1; units <= 70; units += 3) ExpectProducts(DType::kQ5_1, 9, 32 * units, 1, true);
}

TEST_P(OnGpu, RoutedPairsMeetTheirExperts) {
  constexpr int64_t kExperts = 4, kRows = 6, kCols = 256, kTokens = 3, kEach = 2;
  const std::vector<std::byte> bytes = RandomWeights(DType::kQ6_K, kExperts * kRows, kCols, 31);
  const UploadedWeight weight(DType::kQ6_K, kExperts, kRows, kCols, bytes);
  const std::vector<float> w = DecodeAll(DType::kQ6_K, kExperts * kRows, kCols, bytes);
  const std::vector<int32_t> routes = {3, 0, -1, 2, 0, 3};
  const DeviceArray<int32_t> experts(routes);
  const std::vector<float> bias_values = RandomActivations(kExperts * kRows, 33);
  const DeviceArray<float> bias(bias_values);
  for (const int64_t per_row : {kEach, int64_t{1}}) {  // Tokens shared by their pairs, and a row for each pair.
    const int64_t x_rows = kTokens * kEach / per_row;
    const QuantizedActivations x(RandomActivations(x_rows * kCols, 32), x_rows, kCols);
    const std::vector<double> values = x.Values();
    const DeviceArray<float> out(kTokens * kEach * kRows);
    const TestStream stream;
    gpu::RoutedMatVec(
        {.weight = weight.view(), .x = x.view(), .out = out.data(), .out_stride = kRows, .bias = bias.data()},
        experts.data(), kTokens * kEach, per_row, stream.get());
    stream.Wait();
    const std::vector<float> got = out.Values();
    for (int64_t p = 0; p < kTokens * kEach; ++p) {
      const int32_t expert = routes[static_cast<size_t>(p)];
      for (int64_t r = 0; r < kRows; ++r) {
        const float value = got[static_cast<size_t>(p * kRows + r)];
        if (expert < 0) {
          ASSERT_EQ(value, 0);
          continue;
        }
        const int64_t row = expert * kRows + r;
        ExactProduct expected = Product(w.data() + row * kCols, values.data() + p / per_row * kCols, kCols);
        expected.Add(bias_values[static_cast<size_t>(row)]);
        ASSERT_LE(std::abs(value - expected.value), expected.tolerance);
      }
    }
  }
}

TEST_P(OnGpu, MatchesTheGoldenProducts) {
  const QuantOracle oracle;
  const std::vector<float> x_values = oracle.Floats("x");
  const QuantizedActivations x(x_values, 1, 512);
  int tensors = 0;
  for (const DType dtype : kInt8Types) {
    for (const bool imatrix : {false, true}) {
      const std::string name = std::string(Info(dtype).name) + (imatrix ? ".imatrix" : "");
      const auto it = oracle.tensors().find(name);
      if (it == oracle.tensors().end()) continue;
      const UploadedWeight weight(dtype, 1, 8, 512, it->second.bytes);
      const DeviceArray<float> out(8);
      const TestStream stream;
      gpu::MatVec({.weight = weight.view(), .x = x.view(), .out = out.data(), .out_stride = 8}, stream.get());
      stream.Wait();
      const std::vector<float> w = oracle.Floats(name + ".dequant");
      for (size_t r = 0; r < 8; ++r) {
        double value = 0;
        double magnitude = 0;
        for (size_t k = 0; k < 512; ++k) {
          value += double{w[512 * r + k]} * x_values[k];
          magnitude += std::abs(double{w[512 * r + k]} * x_values[k]);
        }
        // The oracle's rule for 8-bit activations.
        EXPECT_LE(std::abs(out.Values()[r] - value), 0.01 * magnitude) << name << " row " << r;
      }
      ++tensors;
    }
  }
  EXPECT_GE(tensors, 30);
}

}  // namespace
}  // namespace barn
