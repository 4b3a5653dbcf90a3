#include "kernels/cuda/routes.h"

#include "kernels/check.h"
#include "kernels/cuda/gpu.h"

namespace barn::gpu {
namespace {

constexpr int kThreads = 256;
constexpr int kCompactWarps = 4;

// One block: how many pairs each expert has, where they begin, and the tiles.
__global__ void __launch_bounds__(kThreads)
    CountRoutes(const int32_t* experts, uint32_t pair_count, uint32_t expert_count, uint32_t tile_pairs,
                uint32_t tiles_max, int32_t* bounds, RouteTile* tiles) {
  BARN_SHARED(int, counts, [kRouteExpertsMax]);
  BARN_SHARED(int, tiles_used, [1]);
  for (uint32_t e = threadIdx.x; e < expert_count; e += kThreads) counts[e] = 0;
  __syncthreads();
  for (uint32_t p = threadIdx.x; p < pair_count; p += kThreads) {
    const int expert = Ld(experts + p);
    if (expert >= 0) atomicAdd(&counts[expert], 1);
  }
  __syncthreads();
  // The first warp goes over the experts, 32 at a time.
  if (threadIdx.x < 32) {
    const uint32_t lane = threadIdx.x;
    int pairs_before = 0;
    int tiles_before = 0;
    for (uint32_t first = 0; first < expert_count; first += 32) {
      const uint32_t e = first + lane;
      const int count = e < expert_count ? counts[e] : 0;
      const int tile_count = (count + static_cast<int>(tile_pairs) - 1) / static_cast<int>(tile_pairs);
      int pairs = count;  // Of this lane and those below it.
      int tile_sum = tile_count;
      for (unsigned delta = 1; delta < 32; delta *= 2) {
        const int other_pairs = __shfl_up_sync(0xffffffff, pairs, delta);
        const int other_tiles = __shfl_up_sync(0xffffffff, tile_sum, delta);
        if (lane >= delta) {
          pairs += other_pairs;
          tile_sum += other_tiles;
        }
      }
      const int begin = pairs_before + pairs - count;
      if (e < expert_count) {
        St(bounds + e, begin);
        for (int t = 0; t < tile_count; ++t) {
          const int done = t * static_cast<int>(tile_pairs);
          const int rest = count - done;
          St(reinterpret_cast<int4*>(tiles) + tiles_before + tile_sum - tile_count + t,
             make_int4(static_cast<int>(e), begin + done, min(rest, static_cast<int>(tile_pairs)), 0));
        }
      }
      pairs_before += __shfl_sync(0xffffffff, pairs, 31);
      tiles_before += __shfl_sync(0xffffffff, tile_sum, 31);
    }
    if (lane == 0) {
      St(bounds + expert_count, pairs_before);
      tiles_used[0] = tiles_before;
    }
  }
  __syncthreads();
  for (uint32_t t = static_cast<uint32_t>(tiles_used[0]) + threadIdx.x; t < tiles_max; t += kThreads) {
    St(reinterpret_cast<int4*>(tiles) + t, make_int4(-1, 0, 0, 0));
  }
}

// A warp for each expert goes over all pairs and keeps its own, in order.
__global__ void __launch_bounds__(kCompactWarps * 32)
    CompactRoutes(const int32_t* experts, uint32_t pair_count, uint32_t expert_count, const int32_t* bounds,
                  int32_t* pairs) {
  const uint32_t expert = blockIdx.x * kCompactWarps + threadIdx.x / 32;
  const uint32_t lane = threadIdx.x % 32;
  if (expert >= expert_count) return;  // The whole warp; nothing here waits for others.
  int at = Ld(bounds + expert);
  if (at == Ld(bounds + expert + 1)) return;
  for (uint32_t first = 0; first < pair_count; first += 32) {
    const uint32_t p = first + lane;
    const bool mine = p < pair_count && Ld(experts + p) == static_cast<int>(expert);
    const uint32_t votes = __ballot_sync(0xffffffff, mine);
    if (mine) St(pairs + at + __popc(static_cast<int>(votes & ((1u << lane) - 1))), static_cast<int>(p));
    at += __popc(static_cast<int>(votes));
  }
}

}  // namespace

void SortRoutes(const int32_t* experts, const SortedRoutes& out, Stream stream) {
  BARN_CHECK(out.experts >= 1 && out.experts <= kRouteExpertsMax && out.tile_pairs >= 1);
  const auto pair_count = static_cast<uint32_t>(out.pair_count);
  const auto expert_count = static_cast<uint32_t>(out.experts);
  const auto tiles = static_cast<uint32_t>(MaxRouteTiles(out.pair_count, out.experts, out.tile_pairs));
  Launch(CountRoutes, dim3(1), dim3(kThreads), 0, stream, experts, pair_count, expert_count,
         static_cast<uint32_t>(out.tile_pairs), tiles, out.bounds, out.tiles);
  Launch(CompactRoutes, dim3((expert_count + kCompactWarps - 1) / kCompactWarps), dim3(kCompactWarps * 32), 0, stream,
         experts, pair_count, expert_count, out.bounds, out.pairs);
}

}  // namespace barn::gpu
