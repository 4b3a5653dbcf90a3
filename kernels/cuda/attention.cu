#include "kernels/cuda/attention.h"

#include "kernels/check.h"
#include "kernels/cuda/gpu.h"
#include "kernels/cuda/kv_access.h"
#include "kernels/cuda/row_access.h"

namespace barn::gpu {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / 32;
constexpr int kPositions = 32;   // Of a tile: one to a lane.
constexpr int kQueriesMax = 16;  // Of a block.
constexpr int kWarpQueries = kQueriesMax / kWarps;
constexpr size_t kSharedMax = 96 * 1024;

struct AttendParams {
  AttentionArgs args;
  uint32_t queries;  // Room for so many.
  uint32_t slice_heads;
  uint32_t slices;
  uint32_t key_stride;  // Floats of a query or key in shared memory.
};

// Quarters of a warp that read a float4 from each of eight rows meet eight different groups of banks.
int64_t KeyStride(int64_t k_width) {
  const int64_t fours = (k_width + 3) / 4;
  return 4 * (fours % 2 == 0 ? fours + 1 : fours);
}

size_t SharedBytes(int64_t queries, int64_t k_width) {
  const int64_t floats = (queries + kPositions) * KeyStride(k_width) + queries * (kPositions + 3);
  return kPositions * sizeof(int64_t) + static_cast<size_t>(floats) * sizeof(float);
}

struct SharedParts {
  int64_t* rows;   // [kPositions] of the cache; negative: no position.
  float* queries;  // [queries][key_stride]
  float* keys;     // [kPositions][key_stride]
  float* weights;  // [queries][kPositions]
  float* rescale;  // [queries]: what older sums are multiplied by.
  float* largest;  // [queries]
  float* sums;     // [queries]
};

__device__ __forceinline__ SharedParts Divide(const AttendParams& p) {
  SharedParts s;
  s.rows = DynamicShared<int64_t>();
  s.queries = reinterpret_cast<float*>(s.rows + kPositions);
  s.keys = s.queries + p.queries * p.key_stride;
  s.weights = s.keys + kPositions * p.key_stride;
  s.rescale = s.weights + p.queries * kPositions;
  s.largest = s.rescale + p.queries;
  s.sums = s.largest + p.queries;
  return s;
}

// What one block does.
struct Work {
  int32_t row;  // First of the step's.
  uint32_t queries;
  uint32_t heads;
  uint32_t first_head;
  int64_t kv_head;
  int32_t position;  // Of the first row.
  int32_t begin;     // Positions that any row sees here.
  int32_t end;
  int32_t sequence_end;
  uint32_t chunks;  // Blocks with something to do among the splits.
};

__device__ __forceinline__ int32_t FirstVisible(const AttentionArgs& a, int32_t position) {
  int64_t begin = 0;
  if (a.window > 0) begin = max(begin, a.both_ways ? position - a.window / 2 : position - a.window + 1);
  if (a.chunk > 0) begin = max(begin, position / a.chunk * a.chunk);
  return static_cast<int32_t>(begin);
}

__device__ __forceinline__ int32_t LastVisible(const AttentionArgs& a, int32_t position, int32_t sequence_end) {
  if (!a.both_ways) return position;
  if (a.window == 0) return sequence_end - 1;
  return static_cast<int32_t>(min(static_cast<int64_t>(sequence_end) - 1, position + a.window / 2));
}

__device__ __forceinline__ Work FindWork(const AttendParams& p, uint32_t split) {
  const AttentionArgs& a = p.args;
  const AttentionTile* tile = a.tiles + blockIdx.x;
  Work work;
  work.row = Ld(&tile->row);
  const auto rows = static_cast<uint32_t>(Ld(&tile->rows));
  const auto group = static_cast<uint32_t>(a.heads / a.kv.kv_heads);
  const uint32_t slice = blockIdx.y % p.slices;
  work.kv_head = blockIdx.y / p.slices;
  work.heads = min(p.slice_heads, group - slice * p.slice_heads);
  work.first_head = static_cast<uint32_t>(work.kv_head) * group + slice * p.slice_heads;
  work.queries = rows * work.heads;
  work.position = Ld(a.step.positions + work.row);
  const int32_t first = FirstVisible(a, work.position);
  work.sequence_end = Ld(&tile->end);
  const int32_t last = LastVisible(a, work.position + static_cast<int32_t>(rows) - 1, work.sequence_end);
  const int32_t first_chunk = first / static_cast<int32_t>(kAttentionSplit);
  const auto splits = static_cast<uint32_t>(a.splits);
  work.chunks = min(splits, static_cast<uint32_t>(last / static_cast<int32_t>(kAttentionSplit) - first_chunk + 1));
  const int32_t chunk = first_chunk + static_cast<int32_t>(split);
  work.begin = max(first, chunk * static_cast<int32_t>(kAttentionSplit));
  work.end = split + 1 == splits ? last + 1 : min(last + 1, (chunk + 1) * static_cast<int32_t>(kAttentionSplit));
  return work;
}

struct Plane {
  const void* elements;
  const uint16_t* scales;
  int64_t width;
};

// Elements c and c + 1 of a row; c is even.
__device__ __forceinline__ float2 LoadPair(KvType type, const Plane& plane, int64_t row, uint32_t c) {
  const int64_t at = row * plane.width + c;
  if (type == KvType::kF16) {
    const uint32_t pair = Ld(reinterpret_cast<const uint32_t*>(static_cast<const uint16_t*>(plane.elements) + at));
    return make_float2(HalfToFloat(static_cast<uint16_t>(pair & 0xffff)),
                       HalfToFloat(static_cast<uint16_t>(pair >> 16)));
  }
  if (type == KvType::kF32) return Ld(reinterpret_cast<const float2*>(static_cast<const float*>(plane.elements) + at));
  const int64_t block = row * ScalesOfRow(plane.width) + c / 32;
  const float scale = HalfToFloat(Ld(plane.scales + block));
  const bool nibbles = type == KvType::kQ4_0;
  const int64_t byte = nibbles ? block * 16 + c % 16 : at;
  const uint32_t pair = Ld(reinterpret_cast<const uint16_t*>(static_cast<const uint8_t*>(plane.elements) + byte));
  // A code of 4 bits in the upper half of a byte, with its highest bit turned over, is 16 times (code - 8) as an int8.
  const uint32_t codes = nibbles ? (c % 32 < 16 ? pair << 4 & 0xf0f0 : pair & 0xf0f0) ^ 0x8080 : pair;
  const float unit = nibbles ? scale * 0.0625f : scale;
  return make_float2(unit * static_cast<float>(static_cast<int8_t>(codes & 0xff)),
                     unit * static_cast<float>(static_cast<int8_t>(codes >> 8)));
}

// The queries times the scale, zeros behind each.
__device__ __forceinline__ void LoadQueries(const AttendParams& p, const Work& work, float* out) {
  const auto width = static_cast<uint32_t>(p.args.kv.k_width);
  for (uint32_t i = threadIdx.x / 32; i < work.queries; i += kWarps) {
    const float* query = p.args.q.data + (work.row + static_cast<int64_t>(i / work.heads)) * p.args.q.stride +
                         static_cast<int64_t>(work.first_head + i % work.heads) * width;
    for (uint32_t c = threadIdx.x % 32; c < p.key_stride; c += 32) {
      out[i * p.key_stride + c] = c < width ? Ld(query + c) * p.args.scale : 0.0f;
    }
  }
}

__device__ __forceinline__ void LoadKeys(const AttendParams& p, const SharedParts& shared) {
  const KvPlanes& kv = p.args.kv;
  const Plane plane = {kv.k, kv.k_scales, kv.k_width};
  for (uint32_t t = threadIdx.x / 32; t < kPositions; t += kWarps) {
    const int64_t row = shared.rows[t];
    for (uint32_t c = 2 * (threadIdx.x % 32); c < p.key_stride; c += 64) {
      const bool inside = row >= 0 && c < kv.k_width;
      const float2 pair = inside ? LoadPair(kv.type, plane, row, c) : make_float2(0, 0);
      shared.keys[t * p.key_stride + c] = pair.x;
      shared.keys[t * p.key_stride + c + 1] = pair.y;
    }
  }
}

// The running softmax of the queries of a warp: warp, warp + kWarps, ...; the same in all lanes.
struct Running {
  float largest[kWarpQueries];
  float sum[kWarpQueries];
};

// Scores of a tile of positions from `first` on, a position to a lane; then what they weigh.
__device__ __forceinline__ void WeighTile(const AttendParams& p, const Work& work, const SharedParts& shared,
                                          int32_t first, Running& running BARN_SITE_PARAM) {
  const uint32_t lane = threadIdx.x % 32;
  const uint32_t warp = threadIdx.x / 32;
  const int32_t position = first + static_cast<int32_t>(lane);
  float scores[kWarpQueries] = {0, 0, 0, 0};
  const float* key = shared.keys + lane * p.key_stride;
  for (uint32_t c = 0; c < p.key_stride; c += 4) {
    const float4 k = LdShared(reinterpret_cast<const float4*>(key + c));
    BARN_UNROLL for (uint32_t j = 0; j < kWarpQueries; ++j) {
      const uint32_t i = warp + kWarps * j;
      if (i >= work.queries) break;
      const float4 q = LdShared(reinterpret_cast<const float4*>(shared.queries + i * p.key_stride + c));
      scores[j] = fmaf(q.w, k.w, fmaf(q.z, k.z, fmaf(q.y, k.y, fmaf(q.x, k.x, scores[j]))));
    }
  }
  BARN_UNROLL for (uint32_t j = 0; j < kWarpQueries; ++j) {
    const uint32_t i = warp + kWarps * j;
    if (i >= work.queries) break;
    const int32_t own = work.position + static_cast<int32_t>(i / work.heads);
    const bool seen = position >= max(work.begin, FirstVisible(p.args, own)) && position < work.end &&
                      position <= LastVisible(p.args, own, work.sequence_end);
    float score = scores[j];
    if (p.args.slopes != nullptr) {
      const float distance = static_cast<float>(own < position ? position - own : own - position);
      score -= Ld(p.args.slopes + work.first_head + i % work.heads) * distance;
    }
    if (p.args.softcap > 0) score = p.args.softcap * tanhf(score / p.args.softcap);
    if (!seen) score = -INFINITY;
    const float largest = fmaxf(running.largest[j], WarpMax(score BARN_SITE));
    const float weight = score == -INFINITY ? 0.0f : expf(score - largest);
    const float rescale = running.largest[j] == -INFINITY ? 0.0f : expf(running.largest[j] - largest);
    running.sum[j] = running.sum[j] * rescale + WarpSum(weight BARN_SITE);
    running.largest[j] = largest;
    shared.weights[i * kPositions + lane] = weight;
    if (lane == 0) shared.rescale[i] = rescale;
  }
}

// Weighted values. Threads fall into kGroups groups; thread n of a group has the pairs of columns n, n + group, ... of
// every kGroups-th query.
template <int kGroups, int kSlots>
struct Values {
  static constexpr uint32_t kGroupThreads = kThreads / kGroups;
  static constexpr uint32_t kQueries = kQueriesMax / kGroups;
  float2 sums[kQueries][kSlots];

  __device__ __forceinline__ static uint32_t Query(uint32_t j) { return threadIdx.x / kGroupThreads + kGroups * j; }
  __device__ __forceinline__ static uint32_t Column(uint32_t slot) {
    return 2 * (threadIdx.x % kGroupThreads + slot * kGroupThreads);
  }

  __device__ __forceinline__ void Clear() {
    BARN_UNROLL for (uint32_t j = 0; j < kQueries; ++j) {
      BARN_UNROLL for (uint32_t s = 0; s < kSlots; ++s) sums[j][s] = make_float2(0, 0);
    }
  }

  __device__ __forceinline__ void Add(const AttendParams& p, const Work& work, const SharedParts& shared) {
    const KvPlanes& kv = p.args.kv;
    const Plane plane = kv.v_is_k_prefix ? Plane{kv.k, kv.k_scales, kv.k_width} : Plane{kv.v, kv.v_scales, kv.v_width};
    BARN_UNROLL for (uint32_t j = 0; j < kQueries; ++j) {
      if (Query(j) >= work.queries) break;
      const float rescale = shared.rescale[Query(j)];
      BARN_UNROLL for (uint32_t s = 0; s < kSlots; ++s) {
        sums[j][s].x *= rescale;
        sums[j][s].y *= rescale;
      }
    }
    for (uint32_t t = 0; t < kPositions; ++t) {
      const int64_t row = shared.rows[t];
      if (row < 0) continue;
      BARN_UNROLL for (uint32_t s = 0; s < kSlots; ++s) {
        if (Column(s) >= kv.v_width) break;
        const float2 value = LoadPair(kv.type, plane, row, Column(s));
        BARN_UNROLL for (uint32_t j = 0; j < kQueries; ++j) {
          if (Query(j) >= work.queries) break;
          const float weight = shared.weights[Query(j) * kPositions + t];
          sums[j][s].x = fmaf(weight, value.x, sums[j][s].x);
          sums[j][s].y = fmaf(weight, value.y, sums[j][s].y);
        }
      }
    }
  }
};

// 1 / the sum of the softmax whose weights are relative to `largest`, the sink among them.
__device__ __forceinline__ float Share(const AttentionArgs& a, uint32_t head, float largest, float sum) {
  if (a.sinks == nullptr) return 1.0f / sum;
  const float sink = Ld(a.sinks + head);
  const float most = fmaxf(largest, sink);
  const float own = expf(largest - most);
  return own / (sum * own + expf(sink - most));
}

__device__ __forceinline__ float* OutOf(const AttentionArgs& a, const Work& work, uint32_t query) {
  return a.out.data + (work.row + static_cast<int64_t>(query / work.heads)) * a.out.stride +
         static_cast<int64_t>(work.first_head + query % work.heads) * a.kv.v_width;
}

// Sums of a split block: [queries][v_width], then the largest score and the sum of weights of each query.
__device__ __forceinline__ float* PartialOf(const AttendParams& p, uint32_t split) {
  const int64_t floats = p.queries * (p.args.kv.v_width + 2);
  const int64_t block = (static_cast<int64_t>(blockIdx.x) * gridDim.y + blockIdx.y) * p.args.splits + split;
  return p.args.partials + block * floats;
}

template <int kGroups, int kSlots>
__global__ void __launch_bounds__(kThreads, 4) AttendKernel(AttendParams p) {
  const AttentionArgs& a = p.args;
  const Work work = FindWork(p, blockIdx.z);
  if (blockIdx.z >= work.chunks) return;  // The whole block.
  const SharedParts shared = Divide(p);
  const uint32_t lane = threadIdx.x % 32;
  const uint32_t warp = threadIdx.x / 32;
  Running running;
  BARN_UNROLL for (int j = 0; j < kWarpQueries; ++j) {
    running.largest[j] = -INFINITY;
    running.sum[j] = 0;
  }
  Values<kGroups, kSlots> values;
  values.Clear();
  LoadQueries(p, work, shared.queries);
  const int32_t* blocks = a.step.blocks + Ld(a.step.table_begin + work.row);
  for (int32_t first = work.begin / kPositions * kPositions; first < work.end; first += kPositions) {
    if (warp == 0) {
      const int32_t position = first + static_cast<int32_t>(lane);
      const bool inside = position >= work.begin && position < work.end;
      shared.rows[lane] = inside ? KvRow(a.kv, blocks, position, work.kv_head) : -1;
    }
    __syncthreads();
    LoadKeys(p, shared);
    __syncthreads();
    WeighTile(p, work, shared, first, running);
    __syncthreads();
    values.Add(p, work, shared);
    __syncthreads();  // The next tile overwrites rows and weights.
  }
  BARN_UNROLL for (uint32_t j = 0; j < kWarpQueries; ++j) {
    const uint32_t i = warp + kWarps * j;
    if (lane != 0 || i >= work.queries) break;
    shared.largest[i] = running.largest[j];
    shared.sums[i] = running.sum[j];
  }
  __syncthreads();
  const bool split = a.splits > 1;
  float* partial = split ? PartialOf(p, blockIdx.z) : nullptr;
  if (split && threadIdx.x < work.queries) {
    float* statistics = partial + p.queries * a.kv.v_width;
    St(statistics + threadIdx.x, shared.largest[threadIdx.x]);
    St(statistics + p.queries + threadIdx.x, shared.sums[threadIdx.x]);
  }
  BARN_UNROLL for (uint32_t j = 0; j < decltype(values)::kQueries; ++j) {
    const uint32_t i = values.Query(j);
    if (i >= work.queries) break;
    const uint32_t head = work.first_head + i % work.heads;
    const float scale = split ? 1.0f : Share(a, head, shared.largest[i], shared.sums[i]);
    float* out = split ? partial + i * a.kv.v_width : OutOf(a, work, i);
    BARN_UNROLL for (uint32_t s = 0; s < kSlots; ++s) {
      const uint32_t c = values.Column(s);
      if (c >= a.kv.v_width) break;
      St(out + c, values.sums[j][s].x * scale);
      St(out + c + 1, values.sums[j][s].y * scale);
    }
  }
}

// blockIdx.z: the query. Splits are added in their order.
__global__ void __launch_bounds__(kThreads) MergeKernel(AttendParams p) {
  const AttentionArgs& a = p.args;
  const Work work = FindWork(p, 0);
  const uint32_t i = blockIdx.z;
  if (i >= work.queries) return;
  const int64_t statistics = p.queries * a.kv.v_width;
  float largest = -INFINITY;
  for (uint32_t s = 0; s < work.chunks; ++s) largest = fmaxf(largest, Ld(PartialOf(p, s) + statistics + i));
  float sum = 0;
  for (uint32_t s = 0; s < work.chunks; ++s) {
    const float* partial = PartialOf(p, s) + statistics;
    sum += Ld(partial + p.queries + i) * expf(Ld(partial + i) - largest);
  }
  const float share = Share(a, work.first_head + i % work.heads, largest, sum);
  float* out = OutOf(a, work, i);
  for (uint32_t c = threadIdx.x; c < a.kv.v_width; c += kThreads) {
    float value = 0;
    for (uint32_t s = 0; s < work.chunks; ++s) {
      const float* partial = PartialOf(p, s);
      value = fmaf(expf(Ld(partial + statistics + i) - largest), Ld(partial + i * a.kv.v_width + c), value);
    }
    St(out + c, value * share);
  }
}

void Run(const AttendParams& params, dim3 grid, Stream stream) {
  const int64_t v_width = params.args.kv.v_width;
  const size_t shared = SharedBytes(params.queries, params.args.kv.k_width);
  const auto run = [&](auto kernel) { Launch(kernel, grid, dim3(kThreads), shared, stream, params); };
  if (v_width <= 64) return run(AttendKernel<4, 1>);
  if (v_width <= 128) return run(AttendKernel<2, 1>);
  if (v_width <= 256) return run(AttendKernel<1, 1>);
  run(AttendKernel<1, 2>);
}

}  // namespace

AttentionShape ShapeOfAttention(const KvPlanes& kv, int64_t heads) {
  BARN_CHECK(kv.k_width % 2 == 0 && kv.v_width % 2 == 0 && kv.k_width <= kAttentionKeyWidthMax);
  BARN_CHECK(kv.v_width <= kAttentionValueWidthMax && kv.kv_heads > 0 && heads % kv.kv_heads == 0);
  AttentionShape shape;
  shape.queries = kQueriesMax;
  while (SharedBytes(shape.queries, kv.k_width) > kSharedMax) shape.queries /= 2;
  const int64_t group = heads / kv.kv_heads;
  shape.slice_heads = group < shape.queries ? group : shape.queries;
  shape.slices = (group + shape.slice_heads - 1) / shape.slice_heads;
  shape.tile_rows = shape.queries / shape.slice_heads;
  return shape;
}

int64_t AttentionPartialFloats(const KvPlanes& kv, int64_t heads, int64_t tiles, int64_t splits) {
  const AttentionShape shape = ShapeOfAttention(kv, heads);
  return tiles * kv.kv_heads * shape.slices * splits * shape.queries * (kv.v_width + 2);
}

void Attention(const AttentionArgs& args, Stream stream) {
  if (args.tile_count == 0) return;
  const AttentionShape shape = ShapeOfAttention(args.kv, args.heads);
  const AttendParams params = {args, static_cast<uint32_t>(shape.queries), static_cast<uint32_t>(shape.slice_heads),
                               static_cast<uint32_t>(shape.slices), static_cast<uint32_t>(KeyStride(args.kv.k_width))};
  dim3 grid(static_cast<uint32_t>(args.tile_count), static_cast<uint32_t>(args.kv.kv_heads * shape.slices),
            static_cast<uint32_t>(args.splits));
  Run(params, grid, stream);
  if (args.splits == 1) return;
  grid.z = static_cast<uint32_t>(shape.queries);
  Launch(MergeKernel, grid, dim3(kThreads), 0, stream, params);
}

}  // namespace barn::gpu
