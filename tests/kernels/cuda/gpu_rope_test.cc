#include <cmath>
#include <string>
#include <vector>

#include "kernels/cuda/rope.h"
#include "tests/kernels/cuda/rows_test_util.h"
#include "tests/kernels/random_weights.h"

namespace barn {
namespace {

INSTANTIATE_TEST_SUITE_P(Schedules, OnGpu, testing::Values(0, 1, 2));

struct Case {
  int64_t rows, heads, head_width, offset, width;
  bool neighbours;
  bool weight = false;
  bool unit_norm = false;
  Placement place = {};
};

// What the head becomes, in f64.
std::vector<double> Rotated(const Case& c, const float* x, const std::vector<float>& weight, double position,
                            const std::vector<float>& frequencies, double magnitude, double epsilon) {
  std::vector<double> head(x, x + c.head_width);
  if (c.weight || c.unit_norm) {
    double squares = 0;
    for (const double value : head) squares += value * value;
    const double scale = 1 / std::sqrt(squares / static_cast<double>(c.head_width) + epsilon);
    for (size_t i = 0; i < head.size(); ++i) head[i] *= scale * (c.weight ? weight[i] : 1);
  }
  for (int64_t i = 0; i < c.width / 2; ++i) {
    const int64_t low = c.offset + (c.neighbours ? 2 * i : i);
    const int64_t high = c.neighbours ? low + 1 : low + c.width / 2;
    const double angle = position * double{frequencies[static_cast<size_t>(i)]};
    const double a = head[static_cast<size_t>(low)];
    const double b = head[static_cast<size_t>(high)];
    head[static_cast<size_t>(low)] = magnitude * (a * std::cos(angle) - b * std::sin(angle));
    head[static_cast<size_t>(high)] = magnitude * (a * std::sin(angle) + b * std::cos(angle));
  }
  return head;
}

void ExpectRotated(const Case& c) {
  SCOPED_TRACE(std::to_string(c.rows) + " rows, " + std::to_string(c.heads) + " heads of " +
               std::to_string(c.head_width) + (c.neighbours ? ", neighbours" : "") + (c.weight ? ", weight" : ""));
  constexpr float kMagnitude = 1.2f;
  constexpr float kEpsilon = 1e-6f;
  const std::vector<float> x = RandomActivations(c.rows * c.heads * c.head_width, 1);
  const std::vector<float> weight = RandomActivations(c.head_width, 2);
  std::vector<float> frequencies;
  for (int64_t i = 0; i < c.width / 2; ++i) {
    frequencies.push_back(static_cast<float>(std::pow(10000.0, -2.0 * static_cast<double>(i) / double(c.width))));
  }
  const std::vector<int32_t> some = {0, 1, 2147483647, 131071, 3, 77777};
  const std::vector<int32_t> positions(some.begin(), some.begin() + c.rows);
  const PlacedRows on_x(x, c.rows, c.heads * c.head_width, c.place);
  const DeviceArray<float> on_weight(weight), on_frequencies(frequencies);
  const DeviceArray<int32_t> on_positions(positions);
  const TestStream stream;
  gpu::Rope({.x = on_x.view(),
             .heads = c.heads,
             .head_width = c.head_width,
             .offset = c.offset,
             .width = c.width,
             .neighbours = c.neighbours,
             .positions = on_positions.data(),
             .inverse_frequencies = on_frequencies.data(),
             .magnitude = kMagnitude,
             .weight = c.weight ? on_weight.data() : nullptr,
             .unit_norm = c.unit_norm,
             .epsilon = kEpsilon},
            stream.get());
  stream.Wait();
  const std::vector<float> got = on_x.Values();
  for (int64_t h = 0; h < c.rows * c.heads; ++h) {
    const double position = positions[static_cast<size_t>(h / c.heads)];
    const std::vector<double> want =
        Rotated(c, x.data() + h * c.head_width, weight, position, frequencies, kMagnitude, kEpsilon);
    double largest = 0;
    for (const double value : want) largest = std::max(largest, std::abs(value));
    for (int64_t i = 0; i < c.head_width; ++i) {
      ASSERT_LE(std::abs(got[static_cast<size_t>(h * c.head_width + i)] - want[static_cast<size_t>(i)]),
                32 * 0x1p-24 * largest)
          << "head " << h << " column " << i;
    }
  }
}

TEST_P(OnGpu, RotatesAsExactArithmeticDoes) {
  for (const bool neighbours : {false, true}) {
    for (const Placement place : kPlacements) {
      ExpectRotated({.rows = 6,
                     .heads = 3,
                     .head_width = 64,
                     .offset = 0,
                     .width = 64,
                     .neighbours = neighbours,
                     .place = place});
    }
    ExpectRotated({.rows = 1, .heads = 1, .head_width = 2, .offset = 0, .width = 2, .neighbours = neighbours});
    ExpectRotated({.rows = 3, .heads = 5, .head_width = 96, .offset = 64, .width = 32, .neighbours = neighbours});
    ExpectRotated({.rows = 2, .heads = 2, .head_width = 80, .offset = 0, .width = 20, .neighbours = neighbours});
    ExpectRotated({.rows = 2,
                   .heads = 3,
                   .head_width = 128,
                   .offset = 0,
                   .width = 128,
                   .neighbours = neighbours,
                   .weight = true});
    ExpectRotated(
        {.rows = 2, .heads = 3, .head_width = 72, .offset = 8, .width = 40, .neighbours = neighbours, .weight = true});
    ExpectRotated({.rows = 2,
                   .heads = 3,
                   .head_width = 40,
                   .offset = 0,
                   .width = 40,
                   .neighbours = neighbours,
                   .unit_norm = true});
  }
}

}  // namespace
}  // namespace barn
