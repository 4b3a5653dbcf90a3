#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "absl/strings/str_format.h"
#include "kernels/check.h"
#include "kernels/cuda/gpu_device.h"
#include "kernels/cuda/kv_rows.h"
#include "kernels/cuda/logit_ranking.h"

// What reads and writes the cache, and the ranking of logits, of GpuDevice.
namespace barn {
namespace {

gpu::Rows RowsOf(Tensor x) { return {.data = x.data, .rows = x.rows, .cols = x.cols, .stride = x.stride}; }

gpu::KvPlanes PlanesOf(const KvLayer& kv) {
  return {.type = kv.type,
          .k = kv.k,
          .v = kv.v,
          .k_scales = kv.k_scales,
          .v_scales = kv.v_scales,
          .block_tokens = kv.block_tokens,
          .kv_heads = kv.kv_heads,
          .k_width = kv.k_width,
          .v_width = kv.v_width,
          .v_is_k_prefix = kv.v_is_k_prefix};
}

int64_t FirstVisible(const AttentionArgs& args, int64_t position) {
  const int64_t back = args.both_ways ? args.window / 2 : args.window - 1;
  int64_t begin = args.window > 0 ? std::max<int64_t>(0, position - back) : 0;
  if (args.chunk > 0) begin = std::max(begin, position / args.chunk * args.chunk);
  return begin;
}

}  // namespace

gpu::StepRows GpuDevice::Place(std::span<const SequenceRows> sequences, int64_t rows) {
  positions_.assign(static_cast<size_t>(rows), -1);
  table_begin_.assign(static_cast<size_t>(rows), 0);
  blocks_.clear();
  for (const SequenceRows& sequence : sequences) {
    BARN_CHECK(sequence.first_row >= 0 && sequence.first_row + sequence.rows <= rows);
    for (int64_t r = 0; r < sequence.rows; ++r) {
      positions_[static_cast<size_t>(sequence.first_row + r)] = static_cast<int32_t>(sequence.first_position + r);
      table_begin_[static_cast<size_t>(sequence.first_row + r)] = static_cast<int32_t>(blocks_.size());
    }
    blocks_.insert(blocks_.end(), sequence.blocks.begin(), sequence.blocks.end());
  }
  return {.positions = staged_.Put(std::span<const int32_t>(positions_), kept_step_positions_),
          .table_begin = staged_.Put(std::span<const int32_t>(table_begin_), kept_table_begin_),
          .blocks = staged_.Put(std::span<const int32_t>(blocks_), kept_blocks_)};
}

void GpuDevice::WriteKv(const KvLayer& kv, std::span<const SequenceRows> sequences, Tensor k, Tensor v) {
  BARN_CHECK(k.cols == kv.kv_heads * kv.k_width && (kv.v_is_k_prefix || v.cols == kv.kv_heads * kv.v_width));
  for (const SequenceRows& sequence : sequences) {
    BARN_CHECK(sequence.first_position + sequence.rows <=
               static_cast<int64_t>(sequence.blocks.size()) * kv.block_tokens);
  }
  if (!Ready()) return;
  const gpu::StepRows step = Place(sequences, k.rows);
  if (Ready()) gpu::WriteKv(PlanesOf(kv), step, RowsOf(k), RowsOf(v), stream_);
}

void GpuDevice::CopyKvBlocks(const KvLayer& kv, std::span<const KvBlockCopy> copies) {
  std::vector<int32_t> pairs;
  for (const auto& [from, to] : copies) {
    BARN_CHECK(from >= 0 && to >= 0 && from != to);
    pairs.insert(pairs.end(), {from, to});
  }
  if (pairs.empty() || !Ready()) return;
  const int32_t* on_device = staged_.Put(std::span<const int32_t>(pairs));
  if (Ready()) gpu::CopyKvBlocks(PlanesOf(kv), on_device, static_cast<int64_t>(copies.size()), stream_);
}

// 1 where there are blocks enough for the device; else as many as the longest tile has chunks, or partials have room.
int64_t GpuDevice::ChooseSplits(const AttentionArgs& args, const gpu::AttentionShape& shape, int64_t tiles) const {
  constexpr int64_t kPartialFloatsMax = int64_t{16} << 20;
  const int64_t blocks = tiles * args.kv->kv_heads * shape.slices;
  if (blocks >= 2 * info_.multiprocessors) return 1;
  int64_t chunks = 1;
  for (const SequenceRows& sequence : args.sequences) {
    if (sequence.rows == 0) continue;
    const int64_t first = FirstVisible(args, sequence.first_position) / gpu::kAttentionSplit;
    const int64_t last = (sequence.first_position + sequence.rows - 1) / gpu::kAttentionSplit;
    chunks = std::max(chunks, last - first + 1);
  }
  const int64_t each = gpu::AttentionPartialFloats(PlanesOf(*args.kv), args.heads, tiles, 1);
  return std::clamp<int64_t>(kPartialFloatsMax / each, 1, chunks);
}

void GpuDevice::Attention(const AttentionArgs& args) {
  const KvLayer& kv = *args.kv;
  BARN_CHECK(kv.kv_heads > 0 && args.heads > 0 && args.heads % kv.kv_heads == 0 && kv.block_tokens > 0);
  BARN_CHECK(args.q.cols == args.heads * kv.k_width && args.out.cols == args.heads * kv.v_width);
  BARN_CHECK(!args.both_ways || args.chunk == 0);
  if (kv.k_width % 2 != 0 || kv.v_width % 2 != 0 || kv.k_width > gpu::kAttentionKeyWidthMax ||
      kv.v_width > gpu::kAttentionValueWidthMax) {
    Fail(absl::UnimplementedError(
        absl::StrFormat("attention on a GPU with keys of %d and values of %d: want even "
                        "widths, at most %d and %d",
                        kv.k_width, kv.v_width, gpu::kAttentionKeyWidthMax, gpu::kAttentionValueWidthMax)));
  }
  if (!Ready()) return;
  const gpu::AttentionShape shape = gpu::ShapeOfAttention(PlanesOf(kv), args.heads);
  tiles_.clear();
  for (const SequenceRows& sequence : args.sequences) {
    BARN_CHECK(sequence.first_position + sequence.rows <=
               static_cast<int64_t>(sequence.blocks.size()) * kv.block_tokens);
    for (int64_t r = 0; r < sequence.rows; r += shape.tile_rows) {
      tiles_.push_back({.row = static_cast<int32_t>(sequence.first_row + r),
                        .rows = static_cast<int32_t>(std::min(shape.tile_rows, sequence.rows - r)),
                        .end = static_cast<int32_t>(sequence.first_position + sequence.rows)});
    }
  }
  const auto tiles = static_cast<int64_t>(tiles_.size());
  if (tiles == 0) return;
  const gpu::StepRows step = Place(args.sequences, args.q.rows);
  const gpu::AttentionTile* on_device = staged_.Put(std::span<const gpu::AttentionTile>(tiles_), kept_tiles_);
  const int64_t splits = ChooseSplits(args, shape, tiles);
  float* partials = nullptr;
  if (splits > 1) {
    partials = Grow<float>(partials_, gpu::AttentionPartialFloats(PlanesOf(kv), args.heads, tiles, splits));
  }
  if (!Ready()) return;
  gpu::Attention({.q = RowsOf(args.q),
                  .out = RowsOf(args.out),
                  .kv = PlanesOf(kv),
                  .step = step,
                  .tiles = on_device,
                  .tile_count = tiles,
                  .splits = splits,
                  .partials = partials,
                  .heads = args.heads,
                  .scale = args.scale,
                  .softcap = args.softcap,
                  .window = args.window,
                  .chunk = args.chunk,
                  .sinks = args.sinks,
                  .both_ways = args.both_ways,
                  .slopes = args.slopes},
                 stream_);
}

namespace {

// What the device gives for one row: its chunks, then its best.
struct RankedBytes {
  int64_t chunks = 0;
  int64_t count = 0;
  int64_t bytes() const {
    return chunks * static_cast<int64_t>(sizeof(gpu::LogitChunk)) + count * static_cast<int64_t>(sizeof(uint64_t));
  }
};

RankedBytes BytesOf(const LogitRanking& row) {
  const auto vocabulary = static_cast<int64_t>(row.logits.size());
  return {.chunks = gpu::RankingChunks(vocabulary), .count = std::min({row.count, vocabulary, gpu::kRankedMax})};
}

// More than the device ranks, from logits that the host reads.
std::vector<RankedLogit> RankOnHost(std::span<const float> logits, int64_t count) {
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto clean = [&](int32_t id) {
    return std::isnan(logits[static_cast<size_t>(id)]) ? -std::numeric_limits<float>::infinity()
                                                       : logits[static_cast<size_t>(id)];
  };
  std::partial_sort(order.begin(), order.begin() + count, order.end(),
                    [&](int32_t a, int32_t b) { return clean(a) != clean(b) ? clean(a) > clean(b) : a < b; });
  std::vector<RankedLogit> best;
  for (int64_t i = 0; i < count; ++i) {
    best.push_back({order[static_cast<size_t>(i)], logits[static_cast<size_t>(order[static_cast<size_t>(i)])]});
  }
  return best;
}

void ReadRanking(LogitRanking& row, const std::byte* results) {
  const RankedBytes sizes = BytesOf(row);
  const auto* chunks = reinterpret_cast<const gpu::LogitChunk*>(results);
  row.largest = -std::numeric_limits<float>::infinity();
  for (int64_t c = 0; c < sizes.chunks; ++c) row.largest = std::max(row.largest, chunks[c].largest);
  row.logsumexp = row.largest;
  if (std::isfinite(row.largest)) {
    double sum = 0;
    for (int64_t c = 0; c < sizes.chunks; ++c) {
      sum += chunks[c].exp_sum * std::exp(double{chunks[c].largest} - row.largest);
    }
    row.logsumexp = row.largest + std::log(sum);
  }
  if (row.count > sizes.count) return;
  const auto* keys = reinterpret_cast<const uint64_t*>(chunks + sizes.chunks);
  row.best.clear();
  for (int64_t i = 0; i < sizes.count; ++i) row.best.push_back({gpu::RankedId(keys[i]), gpu::RankedLogitOf(keys[i])});
}

}  // namespace

void GpuDevice::RankOne(LogitRanking& row, std::byte* results, int64_t offset) {
  const auto vocabulary = static_cast<int64_t>(row.logits.size());
  const RankedBytes sizes = BytesOf(row);
  uint64_t* keys = Grow<uint64_t>(ranking_keys_, gpu::RankingKeys(1, vocabulary, sizes.count));
  const float* logits = row.logits.data();
  if (!arena_->Holds(logits)) logits = staged_.Put(row.logits);
  if (!Ready()) return;
  auto* chunks = reinterpret_cast<gpu::LogitChunk*>(results + offset);
  gpu::RankLogits({.logits = {.data = const_cast<float*>(logits), .rows = 1, .cols = vocabulary, .stride = vocabulary},
                   .count = sizes.count,
                   .chunks = chunks,
                   .keys = keys,
                   .best = reinterpret_cast<uint64_t*>(chunks + sizes.chunks)},
                  stream_);
}

void GpuDevice::RankLogits(std::span<LogitRanking> rows) {
  int64_t bytes = 0;
  for (LogitRanking& row : rows) {
    BARN_CHECK(!row.logits.empty());
    row.count = std::clamp<int64_t>(row.count, 0, static_cast<int64_t>(row.logits.size()));
    row.best.clear();
    bytes += BytesOf(row).bytes();
  }
  if (rows.empty() || !Ready()) return;
  std::byte* on_device = Grow(ranking_results_, bytes);
  std::byte* on_host = Grow(ranked_, bytes);
  int64_t offset = 0;
  for (LogitRanking& row : rows) {
    if (Ready()) RankOne(row, on_device, offset);
    offset += BytesOf(row).bytes();
  }
  if (Ready()) gpu::CopyToHost(on_host, on_device, static_cast<size_t>(bytes), stream_);
  Wait();
  if (!Ready()) return;
  offset = 0;
  for (LogitRanking& row : rows) {
    ReadRanking(row, on_host + offset);
    offset += BytesOf(row).bytes();
    if (row.count <= gpu::kRankedMax) continue;
    const auto vocabulary = static_cast<int64_t>(row.logits.size());
    std::span<const float> logits = row.logits;
    if (arena_->Holds(logits.data())) {
      const Tensor device = {
          .data = const_cast<float*>(logits.data()), .rows = 1, .cols = vocabulary, .stride = vocabulary};
      logits = {ToHost(device).data, static_cast<size_t>(vocabulary)};
    }
    row.best = RankOnHost(logits, row.count);
  }
}

}  // namespace barn
