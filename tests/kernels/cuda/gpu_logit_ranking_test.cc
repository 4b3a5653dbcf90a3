#include "kernels/cuda/logit_ranking.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "tests/kernels/cuda/rows_test_util.h"
#include "tests/kernels/random_weights.h"

namespace barn {
namespace {

INSTANTIATE_TEST_SUITE_P(Schedules, OnGpu, testing::Values(0, 1, 2));

constexpr float kInfinity = std::numeric_limits<float>::infinity();

float Clean(float x) { return std::isnan(x) ? -kInfinity : x; }

void ExpectRanked(const std::vector<float>& logits, int64_t rows, int64_t count) {
  const auto vocabulary = static_cast<int64_t>(logits.size()) / rows;
  SCOPED_TRACE(std::to_string(rows) + " rows of " + std::to_string(vocabulary) + ", " + std::to_string(count) +
               " wanted");
  const PlacedRows x(logits, rows, vocabulary, {.gap = 1});
  const int64_t chunk_count = gpu::RankingChunks(vocabulary);
  const DeviceArray<gpu::LogitChunk> on_chunks(static_cast<size_t>(rows * chunk_count));
  const DeviceArray<uint64_t> keys(static_cast<size_t>(gpu::RankingKeys(rows, vocabulary, count)));
  const DeviceArray<uint64_t> on_best(static_cast<size_t>(rows * count));
  const TestStream stream;
  gpu::RankLogits(
      {.logits = x.view(), .count = count, .chunks = on_chunks.data(), .keys = keys.data(), .best = on_best.data()},
      stream.get());
  stream.Wait();
  const std::vector<uint64_t> best = on_best.Values();
  const std::vector<gpu::LogitChunk> chunks = on_chunks.Values();
  for (int64_t r = 0; r < rows; ++r) {
    const float* row = logits.data() + r * vocabulary;
    std::vector<int32_t> order(static_cast<size_t>(vocabulary));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return Clean(row[a]) > Clean(row[b]); });
    for (int64_t i = 0; i < count; ++i) {
      const uint64_t key = best[static_cast<size_t>(r * count + i)];
      ASSERT_EQ(gpu::RankedId(key), order[static_cast<size_t>(i)]) << "row " << r << " place " << i;
      ASSERT_EQ(gpu::RankedLogitOf(key), Clean(row[order[static_cast<size_t>(i)]]));
    }
    for (int64_t c = 0; c < chunk_count; ++c) {
      const int64_t end = std::min(vocabulary, (c + 1) * gpu::kRankingChunk);
      float largest = -kInfinity;
      for (int64_t i = c * gpu::kRankingChunk; i < end; ++i) largest = std::max(largest, Clean(row[i]));
      double sum = 0;
      for (int64_t i = c * gpu::kRankingChunk; i < end && std::isfinite(largest); ++i) {
        sum += std::exp(double{Clean(row[i])} - largest);
      }
      const gpu::LogitChunk got = chunks[static_cast<size_t>(r * chunk_count + c)];
      ASSERT_EQ(got.largest, largest);
      ASSERT_NEAR(got.exp_sum, sum, 24 * 0x1p-24 * sum);
    }
  }
}

TEST_P(OnGpu, BestLogitsInOrder) {
  for (const int64_t vocabulary : {1, 5, 1024, 1025, 3000}) {
    for (const int64_t count : {0, 1, 3, 40, 512}) {
      if (count <= vocabulary) ExpectRanked(RandomActivations(2 * vocabulary, 7), 2, count);
    }
  }
  // Two rounds of keys: 5 x 512, then 3 x 512, then 2 x 512.
  if (GetParam() == 0) ExpectRanked(RandomActivations(5000, 8), 1, 512);
}

TEST_P(OnGpu, TiesGoToTheLowerIdAndNanIsLast) {
  std::vector<float> logits(2500, 1.0f);
  logits[3] = NAN, logits[1500] = -kInfinity, logits[2400] = 2.0f, logits[7] = -0.0f, logits[9] = 0.0f;
  ExpectRanked(logits, 1, 30);
  std::vector<float> low(20, NAN);
  low[5] = -kInfinity, low[19] = -3e38f;
  ExpectRanked(low, 1, 20);
  ExpectRanked({0.0f, -0.0f, kInfinity, -1.0f}, 1, 4);
}

TEST_P(OnGpu, EditsAreMadeInOrder) {
  const std::vector<float> logits = {1, -2, 3, 4, 5, 6};
  const PlacedRows x(logits, 2, 3, {.gap = 1});
  const DeviceArray<gpu::LogitEdit> edits(std::vector<gpu::LogitEdit>{{0, 0, 1.5f, 2.0f},
                                                                      {0, 1, 0, 2.0f},
                                                                      {1, 1, 1, 1},
                                                                      {1, 1, 0, 4},
                                                                      {1, 1, -kInfinity, 1},
                                                                      {1, 2, 10, 1},
                                                                      {1, 2, 0, 2}});
  const TestStream stream;
  gpu::EditLogits(x.view(), edits.data(), 7, stream.get());
  gpu::EditLogits(x.view(), edits.data(), 0, stream.get());
  stream.Wait();
  EXPECT_EQ(x.Values(), (std::vector<float>{2, -4, 3, 4, -kInfinity, 8}));
}

}  // namespace
}  // namespace barn
