#include <cmath>
#include <vector>

#include "kernels/cuda/routed_rows.h"
#include "tests/kernels/cuda/rows_test_util.h"
#include "tests/kernels/random_weights.h"

namespace barn {
namespace {

INSTANTIATE_TEST_SUITE_P(Schedules, OnGpu, testing::Values(0, 1, 2));

TEST_P(OnGpu, RoutedRowsSpreadAndAddUp) {
  constexpr int64_t kTokens = 5, kEach = 3, kPairs = kTokens * kEach, kExperts = 4;
  const std::vector<int32_t> experts = {0, 1, 2, -1, 3, 0, -1, -1, -1, 2, 2, 1, 0, -1, 3};
  const DeviceArray<int32_t> on_experts(experts);
  const std::vector<float> weights = RandomActivations(kPairs, 1);
  const DeviceArray<float> on_weights(weights);
  for (const int64_t cols : {1, 31, 300}) {
    const auto width = static_cast<size_t>(cols);
    const std::vector<float> x = RandomActivations(kTokens * cols, 2);
    const std::vector<float> bias = RandomActivations(kExperts * cols, 3);
    const DeviceArray<float> on_bias(bias);
    const PlacedRows on_x(x, kTokens, cols, {.gap = 2});
    const PlacedRows pairs(std::vector<float>(width * kPairs, NAN), kPairs, cols, {.gap = 1});
    const PlacedRows sums(std::vector<float>(width * kTokens, NAN), kTokens, cols, {});
    const PlacedRows plain(std::vector<float>(width * kTokens, NAN), kTokens, cols, {});
    const TestStream stream;
    gpu::SpreadRows(on_x.view(), on_weights.data(), kEach, pairs.view(), stream.get());
    gpu::AddExpertBias(pairs.view(), on_bias.data(), on_experts.data(), stream.get());
    gpu::SumRows(pairs.view(), on_experts.data(), on_weights.data(), kEach, sums.view(), stream.get());
    gpu::SumRows(pairs.view(), on_experts.data(), nullptr, kEach, plain.view(), stream.get());
    stream.Wait();
    const std::vector<float> got_pairs = pairs.Values(), got = sums.Values(), got_plain = plain.Values();
    for (size_t t = 0; t < kTokens; ++t) {
      for (size_t c = 0; c < width; ++c) {
        float sum = 0;
        float plain_sum = 0;
        for (size_t p = t * kEach; p < (t + 1) * kEach; ++p) {
          float value = weights[p] * x[t * width + c];
          if (experts[p] >= 0) value += bias[static_cast<size_t>(experts[p]) * width + c];
          ASSERT_EQ(got_pairs[p * width + c], value);
          if (experts[p] < 0) continue;
          sum = std::fma(weights[p], value, sum);
          plain_sum += value;
        }
        ASSERT_EQ(got[t * width + c], sum);
        ASSERT_EQ(got_plain[t * width + c], plain_sum);
      }
    }
  }
}

}  // namespace
}  // namespace barn
