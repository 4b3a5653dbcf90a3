#pragma once

#include <cstdint>

#include "kernels/cuda/rows.h"
#include "kernels/cuda/stream.h"

namespace barn::gpu {

// l = l > 0 ? l / repetition : l * repetition, then l += add, for l = logits[row][id].
struct LogitEdit {
  int32_t row = 0;
  int32_t id = 0;
  float add = 0;
  float repetition = 1;
};
// edits: on the device; those of one logit stand next to each other and are made in that order.
void EditLogits(Rows logits, const LogitEdit* edits, int64_t count, Stream stream);

inline constexpr int64_t kRankedMax = 512;
inline constexpr int64_t kRankingChunk = 1024;  // Logits that one block orders.

// A logit and its id as a number: of two, the smaller one is better (a larger logit, or the same and a lower id). NaN
// counts as -infinity.
int32_t RankedId(uint64_t key);
float RankedLogitOf(uint64_t key);

// Of the logits of one chunk: the largest, and the sum of e^(x - largest); 0 where that is not finite.
struct LogitChunk {
  float largest;
  float exp_sum;
};

// For rows of logits [R, V]: chunks [R, Chunks(V)], and the `count` best of each row, best first, to best [R, count].
// count is 0 .. min(V, kRankedMax). keys: uint64[RankingKeys(..)] of working memory. All on the device; the results are
// the same bits for the same logits.
struct LogitRankingArgs {
  Rows logits = {};
  int64_t count = 0;
  LogitChunk* chunks = nullptr;
  uint64_t* keys = nullptr;
  uint64_t* best = nullptr;
};
inline int64_t RankingChunks(int64_t entries) { return (entries + kRankingChunk - 1) / kRankingChunk; }
inline int64_t RankingKeys(int64_t rows, int64_t vocabulary, int64_t count) {
  return 2 * rows * RankingChunks(vocabulary) * count;
}
void RankLogits(const LogitRankingArgs& args, Stream stream);

}  // namespace barn::gpu
