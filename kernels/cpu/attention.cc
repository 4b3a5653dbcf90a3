#include "kernels/cpu/attention.h"

#include <algorithm>
#include <cmath>

#include "kernels/check.h"
#include "kernels/cpu/float_kernels.h"
#include "kernels/cpu/kv_rows.h"

namespace barn {
namespace {

// The unit of the softmax: maximum and sum of a row are taken over chunks at fixed positions and merged upwards, which
// makes the result independent of how rows, chunks and threads were grouped.
constexpr int64_t kChunk = 256;
// Positions whose keys or values are converted to f32 at a time: 16 KiB at a width of 128.
constexpr int64_t kTilePositions = 32;
constexpr int64_t kHeadSliceMax = 16;
constexpr int64_t kQueriesPerItem = 32;   // Each converted key is used this many times.
constexpr int64_t kDirectQueriesMax = 4;  // One pass over the rows on AVX-512.
constexpr int64_t kAhead = 32;            // Positions from the one that is scored to the one that is prefetched.
// Fewer items than this (a few generating streams) are split by chunk as well, to feed the threads.
constexpr int64_t kSplitBelowItems = 64;
constexpr int64_t kPartialFloatsMax = int64_t{16} << 20;

int64_t RoundUp16(int64_t n) { return (n + 15) / 16 * 16; }

struct Range {
  int64_t begin = 0;
  int64_t end = 0;
  bool empty() const { return begin >= end; }
};

// The positions that a query at `position` sees of a sequence whose last row is before `sequence_end`. Both bounds grow
// with the position.
Range Visible(const AttentionArgs& args, int64_t position, int64_t sequence_end) {
  if (args.both_ways) {
    if (args.window == 0) return {0, sequence_end};
    return {std::max<int64_t>(0, position - args.window / 2), std::min(sequence_end, position + args.window / 2 + 1)};
  }
  int64_t begin = 0;
  if (args.window > 0) begin = std::max<int64_t>(begin, position - args.window + 1);
  if (args.chunk > 0) begin = std::max(begin, position / args.chunk * args.chunk);
  return {begin, position + 1};
}

// Softmax over some positions of the queries of an item: acc = sum of e^(s - max) v, not yet divided by sum.
// sum is 0 where a query sees none of them.
struct Partial {
  float* acc;  // [queries, RoundUp16(v_width)]
  float* max;
  float* sum;
};

Partial PartialAt(float* floats, int64_t queries, int64_t v_width) {
  float* statistics = floats + queries * RoundUp16(v_width);
  return {floats, statistics, statistics + queries};
}

int64_t PartialFloats(int64_t queries, int64_t v_width) {
  return queries * RoundUp16(v_width) + RoundUp16(2 * queries);
}

// One (tile, KV head, slice of its query heads). Query i is row i / heads of the tile, head first_head + i % heads.
struct Item {
  const AttentionTile* tile;
  int64_t kv_head;
  int64_t first_head;
  int64_t heads;
  int64_t queries() const { return tile->rows * heads; }
};

Item MakeItem(const AttentionArgs& args, const AttentionPlan& plan, const AttentionTile& tile, int64_t head_and_slice) {
  const int64_t group = args.heads / args.kv->kv_heads;
  const int64_t kv_head = head_and_slice / plan.head_slices;
  const int64_t first = head_and_slice % plan.head_slices * plan.head_slice;
  return {&tile, kv_head, kv_head * group + first, std::min(plan.head_slice, group - first)};
}

// Memory of one thread. Everything is sized for plan.head_slice heads of a full tile.
struct Scratch {
  float* queries;
  float* scores;  // [queries, kChunk]
  float* tile;    // [kTilePositions, wider of key and value]
  float* part;
  float* total;

  static int64_t TileRows(const AttentionPlan& plan) { return std::max<int64_t>(1, kQueriesPerItem / plan.head_slice); }

  static int64_t Floats(const KvLayer& kv, const AttentionPlan& plan) {
    const int64_t queries = TileRows(plan) * plan.head_slice;
    return queries * (RoundUp16(kv.k_width) + kChunk) + kTilePositions * RoundUp16(std::max(kv.k_width, kv.v_width)) +
           2 * PartialFloats(queries, kv.v_width);
  }

  static Scratch At(float* floats, const KvLayer& kv, const AttentionPlan& plan) {
    const int64_t queries = TileRows(plan) * plan.head_slice;
    Scratch scratch;
    scratch.queries = floats;
    scratch.scores = scratch.queries + queries * RoundUp16(kv.k_width);
    scratch.tile = scratch.scores + queries * kChunk;
    scratch.part = scratch.tile + kTilePositions * RoundUp16(std::max(kv.k_width, kv.v_width));
    scratch.total = scratch.part + PartialFloats(queries, kv.v_width);
    return scratch;
  }
};

// The queries of an item side by side, times args.scale, padded with zeros.
void PackQueries(const AttentionArgs& args, const Item& item, float* out) {
  const int64_t width = args.kv->k_width;
  const int64_t padded = RoundUp16(width);
  for (int64_t i = 0; i < item.queries(); ++i, out += padded) {
    const float* query = args.q.row(item.tile->row + i / item.heads) + (item.first_head + i % item.heads) * width;
    for (int64_t k = 0; k < width; ++k) out[k] = query[k] * args.scale;
    std::fill(out + width, out + padded, 0.0f);
  }
}

// Attention of an item's queries to the positions of one chunk.
class ChunkAttention {
 public:
  ChunkAttention(const FloatKernels& kernels, const AttentionArgs& args, const Item& item, const Scratch& scratch)
      : kernels_(kernels),
        args_(args),
        item_(item),
        scratch_(scratch),
        reader_(kernels, *args.kv, args.sequences[item.tile->sequence].blocks, item.kv_head) {}

  void Compute(int64_t chunk, Partial out) {
    first_ = chunk * kChunk;
    // The rows see growing ends and begins, so the first and the last row bound what any sees.
    seen_ = {RowRange(0).begin, RowRange(item_.tile->rows - 1).end};
    if (!seen_.empty()) Score();
    for (int64_t i = 0; i < item_.queries(); ++i) {
      const Range range = RowRange(i / item_.heads);
      out.max[i] = out.sum[i] = 0.0f;
      if (range.empty()) continue;
      if (args_.slopes != nullptr) Slope(i, range);
      kernels_.softmax(scratch_.scores + i * kChunk, range.begin, range.end, args_.softcap, &out.max[i], &out.sum[i]);
    }
    std::fill_n(out.acc, item_.queries() * RoundUp16(args_.kv->v_width), 0.0f);
    if (!seen_.empty()) Weigh(out.acc);
  }

 private:
  // What a row of the tile sees of this chunk, counted from the chunk's start.
  Range RowRange(int64_t row) const {
    const Range visible = Visible(args_, item_.tile->position + row, item_.tile->end);
    return {std::max<int64_t>(visible.begin - first_, 0), std::min(visible.end - first_, kChunk)};
  }

  void Slope(int64_t query, Range range) {
    const float slope = args_.slopes[item_.first_head + query % item_.heads];
    const int64_t own = item_.tile->position + query / item_.heads - first_;
    float* scores = scratch_.scores + query * kChunk;
    for (int64_t j = range.begin; j < range.end; ++j) scores[j] -= slope * static_cast<float>(std::abs(own - j));
  }

  // Few queries take codes where they lie; for more it is worth converting each key and value once. No clear
  // gain was measured for halves, which are always converted.
  bool Direct() const {
    const KvLayer& kv = *args_.kv;
    return KvHasScales(kv.type) && item_.queries() <= kDirectQueriesMax && kv.k_width % 32 == 0 && kv.v_width % 32 == 0;
  }

  // Of the codes of `count` rows of `width` elements.
  void Prefetch(const void* const* rows, int64_t count, int64_t width) const {
    const int64_t bytes = KvCodeBytes(args_.kv->type, width);
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(static_cast<const std::byte*>(rows[i]) + at, 0, 2);
    }
  }

  void ScoreDirectly() {
    const void* rows[kChunk + 8];
    const uint16_t* scales[kChunk + 8];
    const int64_t count = seen_.end - seen_.begin;
    reader_.KeyRows(first_ + seen_.begin, first_ + seen_.end, rows, scales);
    const auto scores = args_.kv->type == KvType::kQ4_0 ? kernels_.scores_q4 : kernels_.scores_q8;
    for (int64_t i = count; i % 8 != 0; ++i) rows[i] = rows[count - 1], scales[i] = scales[count - 1];
    for (int64_t i = 0; i < count; i += 8) {
      Prefetch(rows + i + kAhead, std::clamp<int64_t>(count - i - kAhead, 0, 8), args_.kv->k_width);
      ScoreTile(seen_.begin + i, 8, args_.kv->k_width, [&](const float* q, int64_t m, float* out, int64_t stride) {
        scores(q, m, {rows + i, scales + i}, 8, args_.kv->k_width, out, stride);
      });
    }
  }

  void WeighDirectly(float* acc) {
    const void* rows[kChunk];
    const uint16_t* scales[kChunk];
    reader_.ValueRows(first_ + seen_.begin, first_ + seen_.end, rows, scales);
    const auto weighted_sum = args_.kv->type == KvType::kQ4_0 ? kernels_.weighted_sum_q4 : kernels_.weighted_sum_q8;
    const int64_t width = args_.kv->v_width;
    for (int64_t t = seen_.begin; t < seen_.end; t += 8) {
      const Range tile = {t, std::min(t + 8, seen_.end)};
      const int64_t at = t - seen_.begin;
      Prefetch(rows + at + kAhead, std::clamp<int64_t>(seen_.end - t - kAhead, 0, 8), width);
      ForRowsOfTile(tile, [&](int64_t row, int64_t count, Range range) {
        const int64_t first = at + range.begin - t;
        weighted_sum(scratch_.scores + row * item_.heads * kChunk + range.begin, kChunk, count * item_.heads,
                     {rows + first, scales + first}, range.end - range.begin, width, acc + row * item_.heads * width);
      });
    }
  }

  // Also scores what a row may not see: the softmax replaces it.
  void Score() {
    if (Direct()) return ScoreDirectly();
    const int64_t width = RoundUp16(args_.kv->k_width);
    for (int64_t t = seen_.begin; t < seen_.end; t += kTilePositions) {
      const int64_t end = std::min(t + kTilePositions, seen_.end);
      const int64_t padded = (end - t + 7) / 8 * 8;
      reader_.Keys(first_ + t, first_ + end, first_ + seen_.end, scratch_.tile, width);
      std::fill(scratch_.tile + (end - t) * width, scratch_.tile + padded * width, 0.0f);
      ScoreTile(t, padded, width, [&](const float* q, int64_t m, float* out, int64_t stride) {
        kernels_.scores(q, m, scratch_.tile, padded, width, out, stride);
      });
    }
  }

  // Scores of all queries, of `width` floats, and the positions from t on: scores(queries, count, out, out_stride).
  // The last positions may reach behind the chunk when `seen_` does not begin at a multiple of 8.
  template <class Scores>
  void ScoreTile(int64_t t, int64_t positions, int64_t width, Scores scores) {
    if (t + positions <= kChunk) {
      scores(scratch_.queries, item_.queries(), scratch_.scores + t, kChunk);
      return;
    }
    float rows[kTilePositions];
    for (int64_t i = 0; i < item_.queries(); ++i) {
      scores(scratch_.queries + i * width, 1, rows, kTilePositions);
      std::copy_n(rows, kChunk - t, scratch_.scores + i * kChunk + t);
    }
  }

  void Weigh(float* acc) {
    if (Direct()) return WeighDirectly(acc);
    const int64_t width = RoundUp16(args_.kv->v_width);
    for (int64_t t = seen_.begin; t < seen_.end; t += kTilePositions) {
      const Range tile = {t, std::min(t + kTilePositions, seen_.end)};
      reader_.Values(first_ + tile.begin, first_ + tile.end, first_ + seen_.end, scratch_.tile, width);
      ForRowsOfTile(tile, [&](int64_t row, int64_t rows, Range range) {
        kernels_.weighted_sum(scratch_.scores + row * item_.heads * kChunk + range.begin, kChunk, rows * item_.heads,
                              scratch_.tile + (range.begin - t) * width, range.end - range.begin, width,
                              acc + row * item_.heads * width);
      });
    }
  }

  // weigh(row, rows, range) for neighbouring rows that see the same part of these positions.
  template <class Weigh>
  void ForRowsOfTile(Range positions, Weigh weigh) const {
    int64_t row = 0;
    while (row < item_.tile->rows) {
      const Range range = Clip(RowRange(row), positions);
      int64_t rows = 1;
      while (row + rows < item_.tile->rows && Same(Clip(RowRange(row + rows), positions), range)) ++rows;
      if (!range.empty()) weigh(row, rows, range);
      row += rows;
    }
  }

  static Range Clip(Range range, Range to) { return {std::max(range.begin, to.begin), std::min(range.end, to.end)}; }
  static bool Same(Range a, Range b) { return a.begin == b.begin && a.end == b.end; }

  const FloatKernels& kernels_;
  const AttentionArgs& args_;
  const Item& item_;
  const Scratch& scratch_;
  KvReader reader_;
  int64_t first_ = 0;
  Range seen_;
};

// Adds the next chunk's result to those before it. total.sum is 0 at the start.
void MergePartial(const FloatKernels& kernels, int64_t queries, int64_t v_width, Partial total, Partial part) {
  const int64_t width = RoundUp16(v_width);
  for (int64_t i = 0; i < queries; ++i) {
    if (part.sum[i] == 0) continue;
    float* acc = total.acc + i * width;
    if (total.sum[i] == 0) {
      std::copy_n(part.acc + i * width, width, acc);
      total.max[i] = part.max[i];
      total.sum[i] = part.sum[i];
      continue;
    }
    const float max = std::max(total.max[i], part.max[i]);
    const float total_scale = std::exp(total.max[i] - max);
    const float part_scale = std::exp(part.max[i] - max);
    kernels.merge(acc, total_scale, part.acc + i * width, part_scale, width);
    total.max[i] = max;
    total.sum[i] = total.sum[i] * total_scale + part.sum[i] * part_scale;
  }
}

void WriteResult(const AttentionArgs& args, const Item& item, Partial total) {
  const int64_t width = args.kv->v_width;
  for (int64_t i = 0; i < item.queries(); ++i) {
    const int64_t head = item.first_head + i % item.heads;
    float scale = 1.0f / total.sum[i];
    if (args.sinks != nullptr) {
      const float max = std::max(total.max[i], args.sinks[head]);
      const float own = std::exp(total.max[i] - max);
      scale = own / (total.sum[i] * own + std::exp(args.sinks[head] - max));
    }
    const float* acc = total.acc + i * RoundUp16(width);
    float* out = args.out.row(item.tile->row + i / item.heads) + head * width;
    for (int64_t k = 0; k < width; ++k) out[k] = acc[k] * scale;
  }
}

void CheckShapes(const AttentionArgs& args) {
  const KvLayer& kv = *args.kv;
  BARN_CHECK(kv.kv_heads > 0 && args.heads > 0 && args.heads % kv.kv_heads == 0);
  BARN_CHECK(kv.block_tokens > 0 && (!kv.v_is_k_prefix || kv.v_width <= kv.k_width));
  BARN_CHECK(args.q.cols == args.heads * kv.k_width && args.out.cols == args.heads * kv.v_width);
  BARN_CHECK(!args.both_ways || args.chunk == 0);
  for (const SequenceRows& sequence : args.sequences) {
    BARN_CHECK(sequence.first_row >= 0 && sequence.first_row + sequence.rows <= args.q.rows);
    BARN_CHECK(sequence.first_row + sequence.rows <= args.out.rows);
    const int64_t positions = sequence.first_position + sequence.rows;
    BARN_CHECK(positions <= static_cast<int64_t>(sequence.blocks.size()) * kv.block_tokens);
  }
}

// Cuts the sequences into tiles; returns the floats that their chunks' partial results take.
int64_t MakeTiles(const AttentionArgs& args, int64_t tile_rows, int64_t heads_and_slices, AttentionPlan& plan) {
  int64_t partial_floats = 0;
  for (size_t s = 0; s < args.sequences.size(); ++s) {
    const SequenceRows& sequence = args.sequences[s];
    for (int64_t done = 0; done < sequence.rows; done += tile_rows) {
      AttentionTile tile;
      tile.sequence = static_cast<int64_t>(s);
      tile.row = sequence.first_row + done;
      tile.rows = std::min(tile_rows, sequence.rows - done);
      tile.position = sequence.first_position + done;
      tile.end = sequence.first_position + sequence.rows;
      tile.chunk_begin = Visible(args, tile.position, tile.end).begin / kChunk;
      tile.chunk_end = (Visible(args, tile.position + tile.rows - 1, tile.end).end - 1) / kChunk + 1;
      tile.first_partial = partial_floats;
      partial_floats += heads_and_slices * (tile.chunk_end - tile.chunk_begin) *
                        PartialFloats(tile.rows * plan.head_slice, args.kv->v_width);
      plan.tiles.push_back(tile);
    }
  }
  return partial_floats;
}

}  // namespace

void PlanAttention(const AttentionArgs& args, AttentionPlan& plan) {
  CheckShapes(args);
  const int64_t group = args.heads / args.kv->kv_heads;
  plan.tiles.clear();
  plan.items = 0;
  plan.head_slice = std::min(group, kHeadSliceMax);
  plan.head_slices = (group + plan.head_slice - 1) / plan.head_slice;
  const int64_t heads_and_slices = args.kv->kv_heads * plan.head_slices;
  const int64_t partial_floats = MakeTiles(args, Scratch::TileRows(plan), heads_and_slices, plan);
  const int64_t unsplit_items = static_cast<int64_t>(plan.tiles.size()) * heads_and_slices;
  plan.split = unsplit_items < kSplitBelowItems && partial_floats <= kPartialFloatsMax;
  for (AttentionTile& tile : plan.tiles) {
    tile.first_item = plan.items;
    plan.items += heads_and_slices * (plan.split ? tile.chunk_end - tile.chunk_begin : 1);
  }
  plan.merges = plan.split ? unsplit_items : 0;
  plan.partial_floats = plan.split ? partial_floats : 0;
  plan.scratch_floats = Scratch::Floats(*args.kv, plan);
}

namespace {

// Where the result of a chunk of a split item lies.
Partial SplitPartial(const AttentionArgs& args, const AttentionPlan& plan, const Item& item, int64_t head_and_slice,
                     int64_t chunk, float* partials) {
  const AttentionTile& tile = *item.tile;
  const int64_t slot = head_and_slice * (tile.chunk_end - tile.chunk_begin) + chunk - tile.chunk_begin;
  const int64_t floats = PartialFloats(tile.rows * plan.head_slice, args.kv->v_width);
  return PartialAt(partials + tile.first_partial + slot * floats, item.queries(), args.kv->v_width);
}

}  // namespace

void AttendRange(Isa isa, const AttentionArgs& args, const AttentionPlan& plan, int64_t item_begin, int64_t item_end,
                 float* scratch_floats, float* partials) {
  const FloatKernels& kernels = FloatKernelsFor(isa);
  const Scratch scratch = Scratch::At(scratch_floats, *args.kv, plan);
  for (int64_t index = item_begin; index < item_end; ++index) {
    const auto after = std::upper_bound(plan.tiles.begin(), plan.tiles.end(), index,
                                        [](int64_t i, const AttentionTile& tile) { return i < tile.first_item; });
    const AttentionTile& tile = *std::prev(after);
    const int64_t chunks = plan.split ? tile.chunk_end - tile.chunk_begin : 1;
    const int64_t head_and_slice = (index - tile.first_item) / chunks;
    const Item item = MakeItem(args, plan, tile, head_and_slice);
    PackQueries(args, item, scratch.queries);
    ChunkAttention attention(kernels, args, item, scratch);
    if (plan.split) {
      const int64_t chunk = tile.chunk_begin + (index - tile.first_item) % chunks;
      attention.Compute(chunk, SplitPartial(args, plan, item, head_and_slice, chunk, partials));
      continue;
    }
    const Partial part = PartialAt(scratch.part, item.queries(), args.kv->v_width);
    const Partial total = PartialAt(scratch.total, item.queries(), args.kv->v_width);
    std::fill_n(total.sum, item.queries(), 0.0f);
    for (int64_t chunk = tile.chunk_begin; chunk < tile.chunk_end; ++chunk) {
      attention.Compute(chunk, part);
      MergePartial(kernels, item.queries(), args.kv->v_width, total, part);
    }
    WriteResult(args, item, total);
  }
}

void MergeRange(Isa isa, const AttentionArgs& args, const AttentionPlan& plan, int64_t merge_begin, int64_t merge_end,
                float* partials) {
  const FloatKernels& kernels = FloatKernelsFor(isa);
  const int64_t heads_and_slices = args.kv->kv_heads * plan.head_slices;
  for (int64_t index = merge_begin; index < merge_end; ++index) {
    const AttentionTile& tile = plan.tiles[index / heads_and_slices];
    const int64_t head_and_slice = index % heads_and_slices;
    const Item item = MakeItem(args, plan, tile, head_and_slice);
    const Partial total = SplitPartial(args, plan, item, head_and_slice, tile.chunk_begin, partials);
    for (int64_t chunk = tile.chunk_begin + 1; chunk < tile.chunk_end; ++chunk) {
      MergePartial(kernels, item.queries(), args.kv->v_width, total,
                   SplitPartial(args, plan, item, head_and_slice, chunk, partials));
    }
    WriteResult(args, item, total);
  }
}

}  // namespace barn
