#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace barn {

// How the ranks of a stage share rows (or heads): rank r computes [bounds[r], bounds[r + 1]). Planner and workers cut
// alike because both ask here.

// bounds, [ranks + 1], as even as pieces of `piece` rows allow; the last rank takes what fills no piece. Needs
// rows >= ranks. Smaller pieces serve where there are too few.
inline std::vector<int64_t> CutRows(int64_t rows, int ranks, int64_t piece) {
  const int64_t unit = rows / piece >= ranks ? piece : 1;
  std::vector<int64_t> bounds;
  for (int rank = 0; rank < ranks; ++rank) {
    bounds.push_back(rows / unit * rank / ranks * unit);
  }
  bounds.push_back(rows);
  return bounds;
}

// Rows of a product: whole panels of the widest kernels, so that no row falls between two.
inline constexpr int64_t kRankRows = 16;
inline std::vector<int64_t> CutRows(int64_t rows, int ranks) { return CutRows(rows, ranks, kRankRows); }

// Whether ranks share the heads of a layer, whole groups with their KV head. Otherwise each computes all of them, and
// keeps all keys and values: attention is the smaller part of a layer.
inline bool SharesHeads(int64_t kv_heads, int ranks) { return kv_heads % ranks == 0; }

}  // namespace barn
