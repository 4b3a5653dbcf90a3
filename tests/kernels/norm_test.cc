#include "kernels/cpu/norm.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "tests/kernels/float_test_util.h"

namespace barn {
namespace {

constexpr float kEps = 1e-5f;

// Lanes of 8 or 16 and four accumulators: every kind of remainder.
const int64_t kWidths[] = {1, 3, 8, 15, 17, 64, 127, 640, 2880, 8192};

// Summing n squares in lanes, then a root, a division and two products: n / 8 + 16 roundings at most.
double Tolerance(int64_t cols, double expected) {
  return (static_cast<double>(cols) / 8 + 16) * kEpsilon * (std::abs(expected) + 1e-3);
}

TEST(RmsNorm, MatchesF64) {
  for (const Isa isa : RunnableIsas()) {
    for (const int64_t cols : kWidths) {
      std::vector<float> x = RandomFloats(3 * cols, 1, 2.0f);
      const std::vector<float> weight = RandomFloats(cols, 2);
      for (const float* w : {weight.data(), static_cast<const float*>(nullptr)}) {
        std::vector<float> out(3 * cols, -1.0f);
        RmsNormRows(isa, View(x, 3, cols), w, kEps, View(out, 3, cols), 1, 3);
        EXPECT_EQ(out[0], -1.0f) << "row 0 is outside the range";
        for (int64_t r = 1; r < 3; ++r) {
          double squares = 0;
          for (int64_t c = 0; c < cols; ++c) squares += std::pow(x[r * cols + c], 2);
          for (int64_t c = 0; c < cols; ++c) {
            const double expected = x[r * cols + c] / std::sqrt(squares / cols + kEps) * (w != nullptr ? w[c] : 1.0);
            ASSERT_NEAR(out[r * cols + c], expected, Tolerance(cols, expected)) << IsaName(isa) << " width " << cols;
          }
        }
      }
    }
  }
}

TEST(RmsNorm, InPlaceAndStridedGiveTheSameBits) {
  for (const Isa isa : RunnableIsas()) {
    std::vector<float> x = RandomFloats(2 * 100, 3);
    const std::vector<float> weight = RandomFloats(77, 4);
    const Tensor wide = {.data = x.data(), .rows = 2, .cols = 77, .stride = 100};
    std::vector<float> out(2 * 77);
    RmsNormRows(isa, wide, weight.data(), kEps, View(out, 2, 77), 0, 2);
    RmsNormRows(isa, wide, weight.data(), kEps, wide, 0, 2);
    for (int64_t i = 0; i < 2 * 77; ++i) ASSERT_EQ(out[i], x[i / 77 * 100 + i % 77]);
  }
}

TEST(LayerNorm, MatchesF64) {
  for (const Isa isa : RunnableIsas()) {
    for (const int64_t cols : kWidths) {
      std::vector<float> x = RandomFloats(2 * cols, 5, 2.0f);
      for (float& value : x) value += 3.0f;
      const std::vector<float> weight = RandomFloats(cols, 6);
      const std::vector<float> bias = RandomFloats(cols, 7);
      for (const bool plain : {false, true}) {
        std::vector<float> out(2 * cols);
        LayerNormRows(isa, View(x, 2, cols), plain ? nullptr : weight.data(), plain ? nullptr : bias.data(), kEps,
                      View(out, 2, cols), 0, 2);
        for (int64_t r = 0; r < 2; ++r) {
          const float* row = x.data() + r * cols;
          double mean = 0;
          double squares = 0;
          for (int64_t c = 0; c < cols; ++c) mean += row[c] / static_cast<double>(cols);
          for (int64_t c = 0; c < cols; ++c) squares += std::pow(row[c] - mean, 2);
          const double scale = 1 / std::sqrt(squares / cols + kEps);
          for (int64_t c = 0; c < cols; ++c) {
            const double expected = (row[c] - mean) * scale * (plain ? 1.0 : weight[c]) + (plain ? 0.0 : bias[c]);
            // The rounded mean, of magnitude 3, shifts every value by up to its own error.
            const double shift = 3 * (cols / 8.0 + 16) * kEpsilon * scale * (plain ? 1.0 : std::abs(weight[c]));
            ASSERT_NEAR(out[r * cols + c], expected, Tolerance(cols, expected) + shift) << IsaName(isa) << " " << cols;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace barn
