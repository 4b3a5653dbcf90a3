#include "sharding/placement.h"

#include <algorithm>
#include <limits>
#include <span>

#include "kernels/check.h"

namespace barn {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

using Share = std::function<double(int bin, int64_t first, int64_t last)>;

// One pass of the dynamic program: cell (bin, n) is the best score of the first n items on bins up to and including
// `bin`, where Join(score so far, share of the last range) gives the score.
class Table {
 public:
  Table(int64_t items, int bins) : items_(items), bins_(bins), spare_(items < bins) {
    const auto cells = static_cast<size_t>(bins + 1) * static_cast<size_t>(items + 1);
    score_.assign(cells, kNever);
    from_.assign(cells, -1);
    score_[0] = 0;
  }

  template <class Join>
  void Fill(const Share& share, Join join) {
    for (int bin = 0; bin < bins_; ++bin) {
      if (spare_) {
        for (int64_t n = 0; n <= items_; ++n) Offer(bin + 1, n, n, score_[Cell(bin, n)]);
      }
      for (int64_t n = 1; n <= items_; ++n) {
        // With bins to spare, a range is one item.
        for (int64_t first = spare_ ? n - 1 : 0; first < n; ++first) {
          const double before = score_[Cell(bin, first)];
          if (before < kNever) Offer(bin + 1, n, first, join(before, share(bin, first, n)));
        }
      }
    }
  }

  double best() const { return score_[Cell(bins_, items_)]; }

  std::vector<PlacedRange> Ranges() const {
    std::vector<PlacedRange> ranges;
    int64_t last = items_;
    for (int bin = bins_; bin > 0; --bin) {
      const int64_t first = from_[Cell(bin, last)];
      if (first < last) ranges.push_back({.bin = bin - 1, .first = first, .last = last});
      last = first;
    }
    std::reverse(ranges.begin(), ranges.end());
    return ranges;
  }

 private:
  size_t Cell(int bins_done, int64_t n) const {
    return static_cast<size_t>(bins_done) * static_cast<size_t>(items_ + 1) + static_cast<size_t>(n);
  }
  void Offer(int bins_done, int64_t n, int64_t first, double score) {
    const size_t cell = Cell(bins_done, n);
    if (score >= score_[cell]) return;
    score_[cell] = score;
    from_[cell] = first;
  }

  const int64_t items_;
  const int bins_;
  const bool spare_;
  std::vector<double> score_;  // [bins + 1, items + 1]
  std::vector<int64_t> from_;  // Where the last range of a cell begins.
};

}  // namespace

Placement PlaceRanges(int64_t items, int bins, const Share& share) {
  BARN_CHECK(items >= 1 && bins >= 1);
  Table smallest_maximum(items, bins);
  smallest_maximum.Fill(share, [](double before, double range) { return std::max(before, range); });
  const double fullest = smallest_maximum.best();
  // The maximum alone leaves the other bins arbitrary; squares even them out below it.
  Table evened(items, bins);
  evened.Fill(share,
              [fullest](double before, double range) { return range <= fullest ? before + range * range : kNever; });
  return {.ranges = evened.Ranges(), .fullest = fullest};
}

}  // namespace barn
