#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/cpu/isa.h"
#include "kernels/device.h"

namespace barn {

// Consecutive rows of one sequence whose attention is computed together, so that they share reads of K and V.
struct AttentionTile {
  int64_t sequence = 0;
  int64_t row = 0;  // Of the step's tensors.
  int64_t rows = 0;
  int64_t position = 0;     // Of the first row.
  int64_t end = 0;          // Behind the last position that any row of the sequence may see.
  int64_t chunk_begin = 0;  // Positions are taken in chunks of 256, counted from position 0 of the sequence.
  int64_t chunk_end = 0;
  int64_t first_item = 0;     // Items of a tile: [kv head][head slice] or, when split, [kv head][head slice][chunk].
  int64_t first_partial = 0;  // When split: floats from the start of the partial results.
};

// How one call of attention falls into independent pieces. The split changes no bit of the result.
struct AttentionPlan {
  std::vector<AttentionTile> tiles;
  int64_t items = 0;           // For AttendRange.
  int64_t merges = 0;          // For MergeRange, after all items are done; 0 when the items write the results.
  int64_t scratch_floats = 0;  // Per thread, uninitialized.
  int64_t partial_floats = 0;  // Shared by all threads, uninitialized.
  bool split = false;
  int64_t head_slice = 0;   // Query heads of one item; they share a KV head.
  int64_t head_slices = 0;  // Of one KV head.
};

// Makes `plan` that of this call; its memory is used again.
void PlanAttention(const AttentionArgs& args, AttentionPlan& plan);

// Softmax attention over the paged cache, in f32: see AttentionArgs for shapes and masks. Rows at positions p read the
// cache at 0 .. p (both ways: all that the sequence has), so WriteKvRows comes first. A row's bits depend only on its
// query and on the cache: not on other rows, not on how a prompt was cut into steps, not on the threads.
//   PlanAttention(args, plan); AttendRange over [0, items) on any threads; barrier; MergeRange over [0, merges).
// scratch: f32[scratch_floats] per thread; partials: f32[partial_floats] shared by both phases. 64-byte aligned.
void AttendRange(Isa isa, const AttentionArgs& args, const AttentionPlan& plan, int64_t item_begin, int64_t item_end,
                 float* scratch, float* partials);
void MergeRange(Isa isa, const AttentionArgs& args, const AttentionPlan& plan, int64_t merge_begin, int64_t merge_end,
                float* partials);

}  // namespace barn
