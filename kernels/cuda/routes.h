#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"

namespace barn::gpu {

// Pairs of a token and an expert, put in order of their experts on the device, and cut into tiles that each have one
// expert. The host does not know how many each expert has: grids are made for the most that could be, and what finds
// its tile empty returns.

struct RouteTile {
  int32_t expert;  // Negative: no tile.
  int32_t first;   // In pairs below.
  int32_t count;   // 1 .. tile_pairs.
  int32_t unused;
};

struct SortedRoutes {
  int32_t* bounds = nullptr;   // [experts + 1]: the pairs of expert e are pairs[bounds[e]] .. pairs[bounds[e + 1] - 1].
  int32_t* pairs = nullptr;    // [pair_count], ascending within an expert. Pairs without an expert are not in it.
  RouteTile* tiles = nullptr;  // [MaxRouteTiles(..)], 16-byte aligned; those that are none come last.
  int64_t experts = 0;         // At most kRouteExpertsMax.
  int64_t pair_count = 0;
  int64_t tile_pairs = 0;
};

inline constexpr int64_t kRouteExpertsMax = 1024;

inline int64_t MaxRouteTiles(int64_t pair_count, int64_t experts, int64_t tile_pairs) {
  return pair_count / tile_pairs + (experts < pair_count ? experts : pair_count);
}

// Fills `out` from experts[pair_count] on the device; a negative expert means none.
void SortRoutes(const int32_t* experts, const SortedRoutes& out, Stream stream);

}  // namespace barn::gpu
