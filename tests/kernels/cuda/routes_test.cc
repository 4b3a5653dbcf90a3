#include "kernels/cuda/routes.h"

#include <algorithm>
#include <random>
#include <vector>

#include "tests/kernels/cuda/device_array.h"
#include "tests/kernels/cuda/on_gpu.h"

namespace barn {
namespace {

INSTANTIATE_TEST_SUITE_P(Schedules, OnGpu, testing::Values(0, 1, 2));

void ExpectSorted(const std::vector<int32_t>& routes, int64_t experts, int64_t tile_pairs) {
  const auto count = static_cast<int64_t>(routes.size());
  const int64_t tiles_max = gpu::MaxRouteTiles(count, experts, tile_pairs);
  const DeviceArray<int32_t> in(routes), bounds(static_cast<size_t>(experts + 1)), pairs(routes.size());
  const DeviceArray<gpu::RouteTile> tiles(static_cast<size_t>(tiles_max));
  const TestStream stream;
  gpu::SortRoutes(in.data(),
                  {.bounds = bounds.data(),
                   .pairs = pairs.data(),
                   .tiles = tiles.data(),
                   .experts = experts,
                   .pair_count = count,
                   .tile_pairs = tile_pairs},
                  stream.get());
  stream.Wait();
  std::vector<int32_t> expected_pairs, expected_bounds = {0};
  std::vector<std::array<int32_t, 3>> expected_tiles;
  for (int32_t e = 0; e < experts; ++e) {
    for (int32_t p = 0; p < count; ++p) {
      if (routes[static_cast<size_t>(p)] == e) expected_pairs.push_back(p);
    }
    const auto end = static_cast<int32_t>(expected_pairs.size());
    for (int32_t at = expected_bounds.back(); at < end; at += static_cast<int32_t>(tile_pairs)) {
      expected_tiles.push_back({e, at, std::min(end - at, static_cast<int32_t>(tile_pairs))});
    }
    expected_bounds.push_back(end);
  }
  EXPECT_EQ(bounds.Values(), expected_bounds);
  std::vector<int32_t> got_pairs = pairs.Values();
  got_pairs.resize(expected_pairs.size());
  EXPECT_EQ(got_pairs, expected_pairs);
  const std::vector<gpu::RouteTile> got_tiles = tiles.Values();
  ASSERT_LE(expected_tiles.size(), got_tiles.size());
  for (size_t t = 0; t < got_tiles.size(); ++t) {
    if (t >= expected_tiles.size()) {
      EXPECT_LT(got_tiles[t].expert, 0);
      continue;
    }
    EXPECT_EQ(got_tiles[t].expert, expected_tiles[t][0]);
    EXPECT_EQ(got_tiles[t].first, expected_tiles[t][1]);
    EXPECT_EQ(got_tiles[t].count, expected_tiles[t][2]);
  }
}

TEST_P(OnGpu, ComeInOrderOfTheirExperts) {
  std::mt19937 random(4);
  for (const auto& [count, experts, tile] : std::vector<std::array<int64_t, 3>>{
           {1, 1, 16}, {7, 3, 16}, {64, 2, 16}, {65, 33, 16}, {400, 5, 64}, {300, 130, 16}, {50, 1024, 16}}) {
    std::vector<int32_t> routes(static_cast<size_t>(count));
    for (int32_t& e : routes) e = static_cast<int32_t>(random() % static_cast<uint32_t>(experts + 1)) - 1;
    ExpectSorted(routes, experts, tile);
  }
  ExpectSorted(std::vector<int32_t>(100, -1), 8, 16);  // Nobody has an expert.
  ExpectSorted(std::vector<int32_t>(129, 7), 8, 64);   // All have the same.
}

}  // namespace
}  // namespace barn
