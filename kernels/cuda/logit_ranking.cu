#include "kernels/cuda/logit_ranking.h"

#include <cstring>

#include "kernels/check.h"
#include "kernels/cuda/gpu.h"
#include "kernels/cuda/row_access.h"

namespace barn::gpu {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kEach = kRankingChunk / kThreads;
constexpr uint64_t kNothing = ~uint64_t{0};  // Behind every key.

// The bits of floats, as integers in the order of the floats.
__device__ __forceinline__ uint32_t OrderedBits(float x) {
  if (!(x == x)) x = -INFINITY;
  const uint32_t bits = __float_as_uint(x == 0 ? 0.0f : x);  // One zero.
  return (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ uint64_t KeyOf(float logit, uint32_t id) {
  return static_cast<uint64_t>(~OrderedBits(logit)) << 32 | id;
}

__global__ void __launch_bounds__(kThreads) EditKernel(Rows logits, const LogitEdit* edits, uint32_t count) {
  const uint32_t first = blockIdx.x * kThreads + threadIdx.x;
  if (first >= count) return;
  const int32_t row = Ld(&edits[first].row);
  const int32_t id = Ld(&edits[first].id);
  // Another thread makes the edits that stand before this one.
  if (first > 0 && Ld(&edits[first - 1].row) == row && Ld(&edits[first - 1].id) == id) return;
  float* at = logits.data + row * logits.stride + id;
  float logit = LdStream(at);
  for (uint32_t i = first; i < count && Ld(&edits[i].row) == row && Ld(&edits[i].id) == id; ++i) {
    const float repetition = Ld(&edits[i].repetition);
    logit = (logit > 0 ? logit / repetition : logit * repetition) + Ld(&edits[i].add);
  }
  St(at, logit);
}

// Over the block.
__device__ __forceinline__ float BlockMax(float value BARN_SITE_PARAM) {
  BARN_SHARED(float, maxima, [kWarps]);
  value = WarpMax(value BARN_SITE);
  if (threadIdx.x % 32 == 0) maxima[threadIdx.x / 32] = value;
  __syncthreads();
  BARN_UNROLL for (int w = 0; w < kWarps; ++w) value = fmaxf(value, maxima[w]);
  return value;
}
__device__ __forceinline__ float BlockSum(float value BARN_SITE_PARAM) {
  BARN_SHARED(float, sums, [kWarps]);
  value = WarpSum(value BARN_SITE);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = value;
  __syncthreads();
  value = 0;
  BARN_UNROLL for (int w = 0; w < kWarps; ++w) value += sums[w];
  return value;
}

// The chunk's statistics; a row of blocks for each row of logits.
__global__ void __launch_bounds__(kThreads) SumKernel(Rows logits, LogitChunk* chunks) {
  const float* row = logits.data + blockIdx.y * logits.stride;
  float values[kEach];
  float largest = -INFINITY;
  BARN_UNROLL for (int j = 0; j < kEach; ++j) {
    const int64_t id = static_cast<int64_t>(blockIdx.x) * kRankingChunk + j * kThreads + threadIdx.x;
    values[j] = id < logits.cols ? Ld(row + id) : -INFINITY;
    largest = fmaxf(largest, values[j]);  // A NaN is dropped.
  }
  largest = BlockMax(largest);
  const bool finite = fabsf(largest) < INFINITY;
  float sum = 0;
  BARN_UNROLL for (int j = 0; j < kEach; ++j) {
    if (finite && values[j] == values[j]) sum += expf(values[j] - largest);
  }
  sum = BlockSum(sum);
  if (threadIdx.x == 0) {
    LogitChunk* chunk = chunks + static_cast<int64_t>(blockIdx.y) * gridDim.x + blockIdx.x;
    St(&chunk->largest, largest);
    St(&chunk->exp_sum, sum);
  }
}

// Bitonic sort (Batcher 1968) of a chunk, ascending.
__device__ __forceinline__ void Sort(uint64_t* keys) {
  for (uint32_t size = 2; size <= kRankingChunk; size *= 2) {
    for (uint32_t distance = size / 2; distance > 0; distance /= 2) {
      __syncthreads();
      for (uint32_t pair = threadIdx.x; pair < kRankingChunk / 2; pair += kThreads) {
        const uint32_t low = 2 * distance * (pair / distance) + pair % distance;
        const uint32_t high = low + distance;
        const bool ascending = (low & size) == 0;
        const uint64_t a = keys[low];
        const uint64_t b = keys[high];
        if ((a > b) == ascending) {
          keys[low] = b;
          keys[high] = a;
        }
      }
    }
  }
  __syncthreads();
}

// The first `count` of each chunk in order, from logits or, where `from` is set, from `entries` keys of a row.
__global__ void __launch_bounds__(kThreads)
    SelectKernel(Rows logits, const uint64_t* from, uint32_t entries, uint64_t* to, uint32_t count) {
  BARN_SHARED(uint64_t, keys, [kRankingChunk]);
  for (uint32_t i = threadIdx.x; i < kRankingChunk; i += kThreads) {
    const uint32_t at = blockIdx.x * static_cast<uint32_t>(kRankingChunk) + i;
    if (at >= entries) {
      keys[i] = kNothing;
    } else if (from != nullptr) {
      keys[i] = LdStream(from + static_cast<uint64_t>(blockIdx.y) * entries + at);
    } else {
      keys[i] = KeyOf(Ld(logits.data + blockIdx.y * logits.stride + at), at);
    }
  }
  Sort(&keys[0]);
  uint64_t* out = to + (static_cast<uint64_t>(blockIdx.y) * gridDim.x + blockIdx.x) * count;
  for (uint32_t i = threadIdx.x; i < count; i += kThreads) St(out + i, keys[i]);
}

}  // namespace

int32_t RankedId(uint64_t key) { return static_cast<int32_t>(key & 0x7fffffff); }

float RankedLogitOf(uint64_t key) {
  const auto ordered = ~static_cast<uint32_t>(key >> 32);
  const uint32_t bits = (ordered >> 31) != 0 ? ordered & 0x7fffffffu : ~ordered;
  float logit = 0;
  std::memcpy(&logit, &bits, sizeof(logit));
  return logit;
}

void EditLogits(Rows logits, const LogitEdit* edits, int64_t count, Stream stream) {
  if (count == 0) return;
  Launch(EditKernel, dim3(static_cast<uint32_t>((count + kThreads - 1) / kThreads)), dim3(kThreads), 0, stream, logits,
         edits, static_cast<uint32_t>(count));
}

void RankLogits(const LogitRankingArgs& args, Stream stream) {
  const Rows& logits = args.logits;
  BARN_CHECK(logits.cols > 0 && args.count >= 0 && args.count <= kRankedMax && args.count <= logits.cols);
  BARN_CHECK(logits.rows <= 65535);
  if (logits.rows == 0) return;
  const auto rows = static_cast<uint32_t>(logits.rows);
  auto blocks = static_cast<uint32_t>(RankingChunks(logits.cols));
  Launch(SumKernel, dim3(blocks, rows), dim3(kThreads), 0, stream, logits, args.chunks);
  if (args.count == 0) return;
  // Each round leaves `count` of a chunk, at most half of it, until one chunk has all that are left.
  const auto count = static_cast<uint32_t>(args.count);
  uint64_t* halves[2] = {args.keys, args.keys + static_cast<int64_t>(rows) * blocks * count};
  const uint64_t* from = nullptr;
  auto entries = static_cast<uint32_t>(logits.cols);
  for (int round = 0;; ++round) {
    uint64_t* to = blocks == 1 ? args.best : halves[round % 2];
    Launch(SelectKernel, dim3(blocks, rows), dim3(kThreads), 0, stream, logits, from, entries, to, count);
    if (blocks == 1) return;
    from = to;
    entries = blocks * count;
    blocks = static_cast<uint32_t>(RankingChunks(entries));
  }
}

}  // namespace barn::gpu
