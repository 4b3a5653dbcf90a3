#include "kernels/cpu/elementwise.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <numbers>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu/float_kernels.h"
#include "tests/kernels/float_test_util.h"

namespace barn {
namespace {

// All magnitudes that matter, both signs, in no round number.
std::vector<float> Sweep() {
  std::vector<float> values = {0.0f, -0.0f};
  for (float v = 1e-6f; v < 120.0f; v *= 1.013f) {
    values.push_back(v);
    values.push_back(-v);
  }
  return values;
}

void ExpectClose(const std::vector<float>& actual, const std::vector<float>& x, const std::function<double(double)>& f,
                 double relative, double absolute) {
  for (size_t i = 0; i < x.size(); ++i) {
    const double expected = f(x[i]);
    ASSERT_NEAR(actual[i], expected, relative * std::abs(expected) + absolute) << "x = " << x[i];
  }
}

TEST(Exp, IsAccurateAndEndsWell) {
  for (const Isa isa : RunnableIsas()) {
    SCOPED_TRACE(IsaName(isa));
    std::vector<float> x;
    for (float v = -87.29f; v < 88.3f; v += 0.00137f) x.push_back(v);
    std::vector<float> y = x;
    FloatKernelsFor(isa).exp(y.data(), static_cast<int64_t>(y.size()));
    ExpectClose(
        y, x, [](double v) { return std::exp(v); }, 2e-7, 0);
    const float infinity = std::numeric_limits<float>::infinity();
    std::vector<float> ends = {-infinity, -1e30f, -88.0f, 0.0f, 1000.0f, infinity, NAN};
    FloatKernelsFor(isa).exp(ends.data(), static_cast<int64_t>(ends.size()));
    EXPECT_EQ(ends[0], 0.0f);
    EXPECT_EQ(ends[1], 0.0f);
    EXPECT_EQ(ends[2], 0.0f);
    EXPECT_EQ(ends[3], 1.0f);
    EXPECT_NEAR(ends[4], std::exp(88.37), 1e33);
    EXPECT_EQ(ends[4], ends[5]);
    EXPECT_TRUE(std::isnan(ends[6]));
  }
}

TEST(Gelu, MatchesTheTanhForm) {
  const auto gelu = [](double v) {
    return 0.5 * v * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (v + 0.044715 * v * v * v)));
  };
  for (const Isa isa : RunnableIsas()) {
    SCOPED_TRACE(IsaName(isa));
    std::vector<float> x = Sweep();
    std::vector<float> y = x;
    GeluRows(isa, Activation::kGeluTanh, View(y, 1, static_cast<int64_t>(y.size())), 0, 1);
    // Far left the value is x e^-|2u| with 2u up to 87, whose rounding error the exponential multiplies.
    ExpectClose(y, x, gelu, 4e-7, 2e-7);
    std::vector<float> gate = x;
    std::vector<float> up = RandomFloats(static_cast<int64_t>(x.size()), 1);
    GatedActivationRows(isa, Activation::kGeluTanh, View(gate, 1, static_cast<int64_t>(x.size())),
                        View(up, 1, static_cast<int64_t>(x.size())), 0, 1);
    for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(gate[i], y[i] * up[i]);
  }
}

TEST(Gelu, MatchesTheErrorFunction) {
  for (const Isa isa : RunnableIsas()) {
    SCOPED_TRACE(IsaName(isa));
    const std::vector<float> x = Sweep();
    std::vector<float> y = x;
    GeluRows(isa, Activation::kGeluErf, View(y, 1, static_cast<int64_t>(y.size())), 0, 1);
    for (size_t i = 0; i < x.size(); ++i) {
      // The polynomial is 1.5e-7 off where the exponential is 1, the rest are roundings; x multiplies both.
      const double expected = 0.5 * x[i] * std::erfc(-x[i] * std::numbers::sqrt2 / 2);
      ASSERT_NEAR(y[i], expected, 2.5e-7 * std::abs(x[i]) + 2e-7 * std::abs(expected)) << x[i];
    }
    std::vector<float> gate = x;
    std::vector<float> up = RandomFloats(static_cast<int64_t>(x.size()), 1);
    GatedActivationRows(isa, Activation::kGeluErf, View(gate, 1, static_cast<int64_t>(x.size())),
                        View(up, 1, static_cast<int64_t>(x.size())), 0, 1);
    for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(gate[i], y[i] * up[i]);
    std::vector<float> nan = {std::numeric_limits<float>::quiet_NaN()};
    GeluRows(isa, Activation::kGeluErf, View(nan, 1, 1), 0, 1);
    EXPECT_TRUE(std::isnan(nan[0]));
  }
}

TEST(Silu, MatchesF64) {
  for (const Isa isa : RunnableIsas()) {
    SCOPED_TRACE(IsaName(isa));
    std::vector<float> x = Sweep();
    std::vector<float> y = x;
    std::vector<float> up(x.size(), -2.0f);
    const int64_t n = static_cast<int64_t>(x.size());
    GatedActivationRows(isa, Activation::kSilu, View(y, 1, n), View(up, 1, n), 0, 1);
    ExpectClose(
        y, x, [](double v) { return -2 * v / (1 + std::exp(-v)); }, 5e-7, 1e-35);
  }
}

TEST(ClampedSwiglu, MatchesF64) {
  for (const Isa isa : RunnableIsas()) {
    SCOPED_TRACE(IsaName(isa));
    for (const float up_value : {-9.0f, -1.5f, 0.25f, 6.0f, 8.0f}) {
      std::vector<float> x = Sweep();
      std::vector<float> y = x;
      std::vector<float> up(x.size(), up_value);
      const int64_t n = static_cast<int64_t>(x.size());
      GatedActivationRows(isa, Activation::kClampedSwiglu, View(y, 1, n), View(up, 1, n), 0, 1);
      const auto expected = [&](double v) {
        const double g = std::min(v, 7.0);
        return g / (1 + std::exp(-1.702 * g)) * (std::clamp<double>(up_value, -7, 7) + 1);
      };
      // The exponent, up to 204, carries a relative rounding error of its own; below e^-87 the sigmoid is flat.
      ExpectClose(y, x, expected, 1e-5, 1e-34);
    }
  }
}

TEST(Softcap, MatchesF64) {
  for (const Isa isa : RunnableIsas()) {
    SCOPED_TRACE(IsaName(isa));
    std::vector<float> x = Sweep();
    std::vector<float> y = x;
    SoftcapRows(isa, View(y, 1, static_cast<int64_t>(y.size())), 30.0f, 0, 1);
    ExpectClose(
        y, x, [](double v) { return 30 * std::tanh(v / 30); }, 5e-7, 0);
  }
}

TEST(Arithmetic, RowsOfTheRangeOnly) {
  for (const Isa isa : RunnableIsas()) {
    SCOPED_TRACE(IsaName(isa));
    constexpr int64_t kCols = 37;
    const std::vector<float> a = RandomFloats(4 * kCols, 1);
    std::vector<float> b = RandomFloats(4 * kCols, 2);
    std::vector<float> sum = a;
    std::vector<float> scaled_sum = a;
    std::vector<float> scaled = a;
    std::vector<float> each = a;
    const std::vector<float> scales = {5.0f, 0.5f, -3.0f, 7.0f};
    AddRows(isa, View(sum, 4, kCols), View(b, 4, kCols), 1, 3);
    AddScaledRows(isa, View(scaled_sum, 4, kCols), View(b, 4, kCols), 0.3f, 1, 3);
    ScaleAllRows(isa, View(scaled, 4, kCols), 1.7f, 1, 3);
    ScaleEachRow(isa, View(each, 4, kCols), scales, 1, 3);
    for (int64_t i = 0; i < 4 * kCols; ++i) {
      const int64_t r = i / kCols;
      const bool inside = r == 1 || r == 2;
      ASSERT_EQ(sum[i], inside ? a[i] + b[i] : a[i]);
      ASSERT_EQ(scaled[i], inside ? a[i] * 1.7f : a[i]);
      ASSERT_EQ(each[i], inside ? a[i] * scales[r] : a[i]);
      const double exact = inside ? a[i] + 0.3f * static_cast<double>(b[i]) : a[i];
      ASSERT_NEAR(scaled_sum[i], exact, 2 * kEpsilon * (std::abs(a[i]) + std::abs(b[i])));
    }
  }
}

TEST(Elementwise, AnElementHasTheSameBitsWhereverItStands) {
  for (const Isa isa : RunnableIsas()) {
    SCOPED_TRACE(IsaName(isa));
    std::vector<float> x = RandomFloats(48, 9, 4.0f);
    std::vector<float> together = x;
    GeluRows(isa, Activation::kGeluTanh, View(together, 1, 48), 0, 1);
    for (const int64_t cols : {1, 3, 12, 16}) {
      std::vector<float> apart = x;
      GeluRows(isa, Activation::kGeluTanh, View(apart, 48 / cols, cols), 0, 48 / cols);
      ASSERT_EQ(std::memcmp(apart.data(), together.data(), 48 * sizeof(float)), 0) << cols;
    }
  }
}

}  // namespace
}  // namespace barn
