#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "kernels/device.h"
#include "sharding/rank_cut.h"
#include "worker/exchange/collective.h"

namespace barn {

// Rows [first, first + count) of a weight, or columns of activations.
struct Span {
  int64_t first = 0;
  int64_t count = 0;
};

// A count that the ranks share.
struct RankCut {
  std::vector<int64_t> bounds;  // [ranks + 1]
  Span mine;                    // Of this rank.

  int64_t total() const { return bounds.back(); }
};

// The ranks that run one slice together. Every product is cut by output rows, never along what it sums over, so that
// each value is computed by one rank exactly as one rank alone would; then the ranks exchange what they have. What is
// not cut (norms, router, residual stream) is computed by all, from the same bits.
class RankGroup {
 public:
  RankGroup(int rank, int ranks) : rank_(rank), ranks_(ranks) {}

  bool alone() const { return ranks_ == 1; }
  int rank() const { return rank_; }
  int ranks() const { return ranks_; }

  // Rows of a product, in panels; `count` of anything, in ones (heads).
  RankCut Rows(int64_t rows) const { return Cut(CutRows(rows, ranks_)); }
  RankCut Items(int64_t count) const { return Cut(CutRows(count, ranks_, 1)); }
  // What every rank computes whole.
  static RankCut All(int64_t count) { return {.bounds = {0, count}, .mine = {.first = 0, .count = count}}; }

  // collective: of these ranks; null when alone.
  void BeginStep(Collective* collective, WaitBounds wait) {
    collective_ = collective;
    wait_ = std::move(wait);
    status_ = absl::OkStatus();
  }
  // This rank's columns of x, [T, cut.total()], are there; fills in the others'. After an error it does nothing, and
  // the step computes on with whatever x holds, until the slice asks for status().
  void Complete(Tensor x, const RankCut& cut) {
    if (!alone() && status_.ok() && x.rows > 0) {
      status_ =
          collective_->AllGather({.data = x.data, .rows = x.rows, .stride = x.stride, .bounds = cut.bounds}, wait_);
    }
  }
  const absl::Status& status() const { return status_; }
  // How all exchanges of the step went, when they are over.
  const absl::Status& Finish() {
    if (!alone() && status_.ok()) status_ = collective_->Finish(wait_);
    return status_;
  }

 private:
  RankCut Cut(std::vector<int64_t> bounds) const {
    const Span mine = {bounds[rank_], bounds[rank_ + 1] - bounds[rank_]};
    return {.bounds = std::move(bounds), .mine = mine};
  }

  const int rank_;
  const int ranks_;
  Collective* collective_ = nullptr;
  WaitBounds wait_;
  absl::Status status_;
};

}  // namespace barn
