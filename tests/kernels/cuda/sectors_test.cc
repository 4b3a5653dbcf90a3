#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "kernels/cuda/matvec.h"
#include "tests/kernels/cuda/cuda_test_util.h"
#include "tests/simt/access_trace.h"

// What memory moves for one token's product, in sectors of 32 bytes: it does not depend on the architecture. A row of a
// weight shall cost little more than its bytes. Prints a line for each format.

namespace barn {
namespace {

constexpr int64_t kRows = 8, kCols = 4096;

struct Sectors {
  double weights = 0;  // For 256 columns of one row; the file has bytes / 32 of them.
  double weights_least = 0;
  double weights_asked = 0;  // Share of the sectors' bytes that lanes ask for.
  double activations_asked = 0;
};

Sectors Measure(DType dtype) {
  const std::vector<std::byte> bytes = RandomWeights(dtype, kRows, kCols, 1);
  const UploadedWeight weight(dtype, 1, kRows, kCols, bytes);
  const QuantizedActivations x(RandomActivations(kCols, 2), 1, kCols);
  const DeviceArray<float> out(kRows);
  const TestStream stream;
  const simt::AccessTrace trace;
  gpu::MatVec({.weight = weight.view(), .x = x.view(), .out = out.data(), .out_stride = kRows}, stream.get());
  stream.Wait();
  const auto planes = gpu::PlacePlanes(*gpu::FindPlaneLayout(dtype), kRows, kCols);
  const auto of_weights = trace.Of(weight.view().planes[0], static_cast<size_t>(planes.bytes));
  const auto of_codes = trace.Of(x.view().codes, static_cast<size_t>(kCols));
  const double super_blocks = kRows * kCols / 256.0;
  const auto share = [](const simt::AccessTrace::Traffic& traffic) {
    return static_cast<double>(traffic.bytes) / (32.0 * static_cast<double>(traffic.sectors));
  };
  return {.weights = static_cast<double>(of_weights.sectors) / super_blocks,
          .weights_least = static_cast<double>(bytes.size()) / 32 / super_blocks,
          .weights_asked = share(of_weights),
          .activations_asked = share(of_codes)};
}

TEST(Sectors, WeightsCostLittleMoreThanTheirBytes) {
  for (const DType dtype : kInt8Types) {
    const Sectors sectors = Measure(dtype);
    std::printf(
        "%-8s %5.2f sectors for 256 columns, %5.2f by its bytes; lanes ask for %3.0f %% of them, of activations %3.0f "
        "%%\n",
        std::string(Info(dtype).name).c_str(), sectors.weights, sectors.weights_least, 100 * sectors.weights_asked,
        100 * sectors.activations_asked);
    // A lane takes its 32 activations, and Q8_0's codes, in two loads of 16 bytes from one sector: each load counts
    // here, and the second finds the sector in the first-level cache. Lanes that took neighbouring halves would do
    // better.
    const double asked = dtype == DType::kQ8_0 ? 0.5 : 0.85;
    EXPECT_GE(sectors.weights_asked, asked) << Info(dtype).name;
    EXPECT_LE(sectors.weights, sectors.weights_least / asked) << Info(dtype).name;
    EXPECT_GE(sectors.activations_asked, 0.5) << Info(dtype).name;
  }
}

}  // namespace
}  // namespace barn
