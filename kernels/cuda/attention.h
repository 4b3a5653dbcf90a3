#pragma once

#include <cstdint>

#include "kernels/cuda/kv_rows.h"
#include "kernels/cuda/rows.h"
#include "kernels/cuda/stream.h"

namespace barn::gpu {

// Rows [row, row + rows) of a step: of one sequence, at positions one behind the other.
struct AttentionTile {
  int32_t row = 0;
  int32_t rows = 0;
  int32_t end = 0;  // Behind the last position of the sequence; used where attention is both ways.
};

// Softmax attention over the paged cache: masks, sinks and soft cap as AttentionArgs of kernels/device.h has them. A
// block takes the query heads that share a KV head, for all rows of a tile, so that each key and value is read once for
// them, in tiles of positions with a running maximum and sum (online softmax; Milakov and Gimelshein 2018).
struct AttentionArgs {
  Rows q = {};    // [T, heads * k_width]
  Rows out = {};  // [T, heads * v_width]
  KvPlanes kv = {};
  StepRows step = {};
  const AttentionTile* tiles = nullptr;  // On the device; of at most AttentionShape::tile_rows rows.
  int64_t tile_count = 0;                // At most 65535 x 32768.
  // > 1: the positions of a tile are cut at multiples of kAttentionSplit and shared by so many blocks, the last of
  // which takes what is left; `partials` holds AttentionPartialFloats. For few tiles and many positions.
  int64_t splits = 1;
  float* partials = nullptr;
  int64_t heads = 0;
  float scale = 1;
  float softcap = 0;
  int64_t window = 0;
  int64_t chunk = 0;
  const float* sinks = nullptr;
  bool both_ways = false;
  const float* slopes = nullptr;
};

inline constexpr int64_t kAttentionSplit = 256;
inline constexpr int64_t kAttentionValueWidthMax = 512;
inline constexpr int64_t kAttentionKeyWidthMax = 640;

// How heads and rows fall into blocks.
struct AttentionShape {
  int64_t queries = 0;      // Of a block, at most.
  int64_t slice_heads = 0;  // Query heads of a block.
  int64_t slices = 0;       // Blocks that share a KV head.
  int64_t tile_rows = 0;    // Rows of a tile, at most.
};
// Widths are even and at most as above.
AttentionShape ShapeOfAttention(const KvPlanes& kv, int64_t heads);

int64_t AttentionPartialFloats(const KvPlanes& kv, int64_t heads, int64_t tiles, int64_t splits);

// Rows that are in no tile are not written. Keys and values of the rows are in the cache (WriteKv).
void Attention(const AttentionArgs& args, Stream stream);

}  // namespace barn::gpu
