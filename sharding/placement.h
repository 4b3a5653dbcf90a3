#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace barn {

// Items [first, last) on one bin.
struct PlacedRange {
  int bin = 0;
  int64_t first = 0;
  int64_t last = 0;
};

struct Placement {
  std::vector<PlacedRange> ranges;  // In bin order; together they cover every item once, in order.
  double fullest = 0;               // The largest share.
};

// Cuts `items` items into contiguous ranges for `bins` bins in order, each range at least one item, so that the largest
// share is as small as possible and, among those, the sum of squared shares. share(bin, first, last) is finite and not
// negative. With fewer items than bins, each item gets a bin of its own and the rest stay empty. Exact: dynamic
// programming over (bin, items placed), O(bins * items^2) calls of share. items and bins are at least 1.
Placement PlaceRanges(int64_t items, int bins,
                      const std::function<double(int bin, int64_t first, int64_t last)>& share);

}  // namespace barn
