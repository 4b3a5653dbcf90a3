#include "kernels/cpu/rope.h"

#include <cmath>
#include <cstring>
#include <vector>

#include "gtest/gtest.h"
#include "tests/kernels/float_test_util.h"

namespace barn {
namespace {

struct Case {
  int64_t heads;
  int64_t head_width;
  int64_t offset;
  int64_t width;
  RopePairs pairs;
  float magnitude;
};

const Case kCases[] = {
    {4, 128, 0, 128, RopePairs::kHalves, 1.0f},      {4, 128, 0, 128, RopePairs::kNeighbours, 1.0f},
    {3, 80, 0, 32, RopePairs::kHalves, 1.0f},        {16, 192, 128, 64, RopePairs::kNeighbours, 1.3f},
    {1, 576, 512, 64, RopePairs::kNeighbours, 1.0f}, {2, 256, 0, 256, RopePairs::kHalves, 0.8f},
    {2, 22, 3, 14, RopePairs::kHalves, 1.0f},        {2, 22, 4, 18, RopePairs::kNeighbours, 1.0f},
};
const std::vector<int32_t> kPositions = {0, 1, 7, 4095, 131071, 1048575};

std::vector<float> Frequencies(int64_t width) {
  std::vector<float> frequencies(width / 2);
  for (size_t i = 0; i < frequencies.size(); ++i) {
    frequencies[i] = static_cast<float>(std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(width)));
  }
  return frequencies;
}

TEST(Rope, MatchesF64AtEveryPosition) {
  const int64_t rows = static_cast<int64_t>(kPositions.size());
  for (const Isa isa : RunnableIsas()) {
    for (const Case& c : kCases) {
      const int64_t cols = c.heads * c.head_width;
      const std::vector<float> frequencies = Frequencies(c.width);
      const std::vector<float> x = RandomFloats(rows * cols, 1);
      std::vector<float> y = x;
      RopeRows(isa,
               {.x = View(y, rows, cols),
                .heads = c.heads,
                .head_width = c.head_width,
                .offset = c.offset,
                .width = c.width,
                .pairs = c.pairs,
                .positions = kPositions,
                .inverse_frequencies = frequencies,
                .magnitude = c.magnitude},
               0, rows);
      std::vector<double> expected(x.begin(), x.end());
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t h = 0; h < c.heads; ++h) {
          const int64_t start = r * cols + h * c.head_width + c.offset;
          for (int64_t i = 0; i < c.width / 2; ++i) {
            const bool halves = c.pairs == RopePairs::kHalves;
            const int64_t first = start + (halves ? i : 2 * i);
            const int64_t second = halves ? first + c.width / 2 : first + 1;
            const double angle = static_cast<double>(kPositions[r]) * frequencies[i];
            expected[first] = c.magnitude * (x[first] * std::cos(angle) - x[second] * std::sin(angle));
            expected[second] = c.magnitude * (x[first] * std::sin(angle) + x[second] * std::cos(angle));
          }
        }
      }
      // Values up to 4.5 times a sine or cosine that is off by 2e-7, and three roundings.
      for (size_t i = 0; i < y.size(); ++i) {
        ASSERT_NEAR(y[i], expected[i], 4.5 * 2 * c.magnitude * (2e-7 + 3 * kEpsilon))
            << IsaName(isa) << " element " << i;
      }
    }
  }
}

TEST(Rope, ARowHasTheSameBitsAloneAndAmongOthers) {
  const int64_t rows = static_cast<int64_t>(kPositions.size());
  const std::vector<float> frequencies = Frequencies(64);
  for (const Isa isa : RunnableIsas()) {
    std::vector<float> together = RandomFloats(rows * 128, 2);
    std::vector<float> apart = together;
    const auto rotate = [&](float* data, int64_t count, std::span<const int32_t> positions) {
      RopeRows(isa,
               {.x = {.data = data, .rows = count, .cols = 128, .stride = 128},
                .heads = 2,
                .head_width = 64,
                .width = 64,
                .positions = positions,
                .inverse_frequencies = frequencies},
               0, count);
    };
    rotate(together.data(), rows, kPositions);
    for (int64_t r = 0; r < rows; ++r) rotate(apart.data() + r * 128, 1, std::span(kPositions).subspan(r, 1));
    EXPECT_EQ(std::memcmp(together.data(), apart.data(), together.size() * sizeof(float)), 0);
  }
}

}  // namespace
}  // namespace barn
