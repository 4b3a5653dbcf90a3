#include <gtest/gtest.h>

#include <cstdio>
#include <numeric>
#include <string>
#include <vector>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/matvec.h"
#include "tests/kernels/cuda/cuda_test_util.h"
#include "tests/simt/access_trace.h"

// What memory moves for one token's products and attention, in sectors of 32 bytes: it does not depend on the
// architecture. A row of a weight shall cost little more than its bytes. Prints a line for each format.

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

// What attention of one token to 256 positions moves: four heads share keys and values of 128 elements.
TEST(Sectors, AttentionReadsTheCacheInWholeSectors) {
  constexpr int64_t kPositions = 256, kWidth = 128, kHeads = 4;
  std::vector<int32_t> positions(kPositions);
  std::iota(positions.begin(), positions.end(), 0);
  const DeviceArray<int32_t> every(positions), last(std::vector<int32_t>{kPositions - 1});
  const DeviceArray<int32_t> table_begin(std::vector<int32_t>(kPositions, 0)), blocks(std::vector<int32_t>{0});
  const DeviceArray<float> rows(RandomActivations(kPositions * kWidth, 1)), q(RandomActivations(kHeads * kWidth, 2));
  const DeviceArray<float> out(kHeads * kWidth);
  const DeviceArray<gpu::AttentionTile> tiles(std::vector<gpu::AttentionTile>{{0, 1, kPositions}});
  for (const KvType type : {KvType::kF32, KvType::kF16, KvType::kQ8_0, KvType::kQ4_0}) {
    const auto bytes = static_cast<size_t>(kPositions * KvCodeBytes(type, kWidth));
    const auto scales = static_cast<size_t>(kPositions * KvScales(kWidth));
    const DeviceArray<uint8_t> k(bytes), v(bytes);
    const DeviceArray<uint16_t> k_scales(scales), v_scales(scales);
    const gpu::KvPlanes kv = {.type = type,
                              .k = k.data(),
                              .v = v.data(),
                              .k_scales = k_scales.data(),
                              .v_scales = v_scales.data(),
                              .block_tokens = kPositions,
                              .kv_heads = 1,
                              .k_width = kWidth,
                              .v_width = kWidth};
    const auto step = [&](const DeviceArray<int32_t>& of) {
      return gpu::StepRows{.positions = of.data(), .table_begin = table_begin.data(), .blocks = blocks.data()};
    };
    const gpu::Rows written = {.data = rows.data(), .rows = kPositions, .cols = kWidth, .stride = kWidth};
    const TestStream stream;
    gpu::WriteKv(kv, step(every), written, written, stream.get());
    stream.Wait();
    const simt::AccessTrace trace;
    gpu::Attention({.q = {.data = q.data(), .rows = 1, .cols = kHeads * kWidth, .stride = kHeads * kWidth},
                    .out = {.data = out.data(), .rows = 1, .cols = kHeads * kWidth, .stride = kHeads * kWidth},
                    .kv = kv,
                    .step = step(last),
                    .tiles = tiles.data(),
                    .tile_count = 1,
                    .heads = kHeads,
                    .scale = 0.1f},
                   stream.get());
    stream.Wait();
    const double least = static_cast<double>(bytes) / 32;
    const double keys = static_cast<double>(trace.Of(k.data(), bytes).sectors) / least;
    const double values = static_cast<double>(trace.Of(v.data(), bytes).sectors) / least;
    const double scale_sectors = static_cast<double>(trace.Of(k_scales.data(), 2 * scales).sectors) / kPositions;
    std::printf("%-5s keys %.2f, values %.2f times their bytes in sectors; %.2f sectors of scales for a key\n",
                std::string(KvTypeName(type)).c_str(), keys, values, scale_sectors);
    // Each key is read once; each value by the two halves of a block, which take every other query.
    EXPECT_EQ(keys, 1) << KvTypeName(type);
    EXPECT_EQ(values, 2) << KvTypeName(type);
    EXPECT_LE(scale_sectors, KvHasScales(type) ? 2 : 0) << KvTypeName(type);
  }
}

}  // namespace
}  // namespace barn
