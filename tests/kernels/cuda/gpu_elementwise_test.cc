#include "kernels/cuda/elementwise.h"

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "tests/kernels/cuda/rows_test_util.h"
#include "tests/kernels/random_weights.h"

namespace barn {
namespace {

INSTANTIATE_TEST_SUITE_P(Schedules, OnGpu, testing::Values(0, 1, 2));

double Sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double Gelu(double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }
double GeluErf(double x) { return 0.5 * x * std::erfc(-x * M_SQRT1_2); }
double Clamped(double x, double up) {
  x = std::min(x, 7.0);
  return x * Sigmoid(1.702 * x) * (std::clamp(up, -7.0, 7.0) + 1);
}

struct Operation {
  std::string name;
  std::function<void(gpu::Rows, gpu::Rows, const float* scales, gpu::Stream)> run;
  std::function<double(double x, double y, double scale)> reference;
  double roundings;  // Of 2^-24 of |x| + |y| + 1 times the larger factor.
};

const Operation kOperations[] = {
    {"add", [](auto x, auto y, auto, auto s) { gpu::Add(x, y, s); }, [](double x, double y, double) { return x + y; },
     2},
    {"add scaled", [](auto x, auto y, auto, auto s) { gpu::AddScaled(x, y, -1.5f, s); },
     [](double x, double y, double) { return x - 1.5 * y; }, 4},
    {"scale", [](auto x, auto, auto, auto s) { gpu::Scale(x, 0.7f, s); },
     [](double x, double, double) { return x * double{0.7f}; }, 2},
    {"scale rows", [](auto x, auto, auto scales, auto s) { gpu::ScaleRows(x, scales, s); },
     [](double x, double, double scale) { return x * scale; }, 4},
    {"softcap", [](auto x, auto, auto, auto s) { gpu::Softcap(x, 3.0f, s); },
     [](double x, double, double) { return 3 * std::tanh(x / 3); }, 8},
    {"gelu", [](auto x, auto, auto, auto s) { gpu::Gelu(x, s); }, [](double x, double, double) { return Gelu(x); }, 64},
    {"gelu erf", [](auto x, auto, auto, auto s) { gpu::GeluErf(x, s); },
     [](double x, double, double) { return GeluErf(x); }, 64},
    {"gelu erf gate", [](auto x, auto y, auto, auto s) { gpu::GatedActivation(gpu::Gate::kGeluErf, x, y, s); },
     [](double x, double y, double) { return GeluErf(x) * y; }, 64},
    {"copy", [](auto x, auto y, auto, auto s) { gpu::CopyRows(y, x, s); }, [](double, double y, double) { return y; },
     0},
    {"silu", [](auto x, auto y, auto, auto s) { gpu::GatedActivation(gpu::Gate::kSilu, x, y, s); },
     [](double x, double y, double) { return x * Sigmoid(x) * y; }, 64},
    {"gelu gate", [](auto x, auto y, auto, auto s) { gpu::GatedActivation(gpu::Gate::kGeluTanh, x, y, s); },
     [](double x, double y, double) { return Gelu(x) * y; }, 64},
    {"clamped", [](auto x, auto y, auto, auto s) { gpu::GatedActivation(gpu::Gate::kClampedSwiglu, x, y, s); },
     [](double x, double y, double) { return Clamped(x, y); }, 64},
};

TEST_P(OnGpu, ElementsMatchExactArithmetic) {
  for (const Operation& operation : kOperations) {
    for (const Placement place : kPlacements) {
      for (const auto& [rows, cols] : std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {3, 5}, {2, 64}, {7, 403}}) {
        SCOPED_TRACE(operation.name + " " + std::to_string(rows) + " x " + std::to_string(cols) + ", gap " +
                     std::to_string(place.gap) + ", offset " + std::to_string(place.offset));
        const std::vector<float> x = RandomActivations(rows * cols, 1);
        const std::vector<float> y = RandomActivations(rows * cols, 2);
        const std::vector<float> scales = RandomActivations(rows, 3);
        const PlacedRows on_x(x, rows, cols, place);
        const PlacedRows on_y(y, rows, cols, {});
        const DeviceArray<float> on_scales(scales);
        const TestStream stream;
        operation.run(on_x.view(), on_y.view(), on_scales.data(), stream.get());
        stream.Wait();
        const std::vector<float> got = on_x.Values();
        for (size_t i = 0; i < got.size(); ++i) {
          const double scale = scales[i / static_cast<size_t>(cols)];
          const double want = operation.reference(x[i], y[i], scale);
          const double size = (std::abs(x[i]) + 1) * (std::abs(y[i]) + 1) + std::abs(x[i] * scale);
          ASSERT_LE(std::abs(got[i] - want), operation.roundings * 0x1p-24 * size) << x[i] << " " << y[i];
        }
      }
    }
  }
}

TEST_P(OnGpu, LargeValuesSaturateAndNanStays) {
  constexpr float kHuge = 3e38f;
  for (const Operation& operation : kOperations) {
    if (operation.name == "copy") continue;
    SCOPED_TRACE(operation.name);
    const PlacedRows x({NAN, -200.0f, -kHuge, 1.0f}, 1, 4, {});
    const PlacedRows y({1, 1, 0, NAN}, 1, 4, {});
    const DeviceArray<float> scales(std::vector<float>{1});
    const TestStream stream;
    operation.run(x.view(), y.view(), scales.data(), stream.get());
    stream.Wait();
    const std::vector<float> got = x.Values();
    EXPECT_TRUE(std::isnan(got[0]));
    EXPECT_FALSE(std::isnan(got[1]));
    EXPECT_FALSE(std::isnan(got[2]));
    if (operation.name != "scale" && operation.name != "scale rows" && operation.name != "softcap" &&
        operation.name != "gelu" && operation.name != "gelu erf") {
      EXPECT_TRUE(std::isnan(got[3]));
    }
  }
}

}  // namespace
}  // namespace barn
