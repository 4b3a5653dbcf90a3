#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace barn {

// Values counted by upper bounds, as Prometheus histograms tell them. Plain data.
struct HistogramPicture {
  HistogramPicture() = default;
  explicit HistogramPicture(std::span<const double> bounds_in)
      : bounds(bounds_in.begin(), bounds_in.end()), up_to(bounds_in.size(), 0) {}

  void Add(double value) {
    for (size_t i = bounds.size(); i > 0 && value <= bounds[i - 1]; --i) ++up_to[i - 1];
    ++count;
    sum += value;
  }

  std::vector<double> bounds;  // Ascending.
  std::vector<int64_t> up_to;  // [i]: values of at most bounds[i].
  int64_t count = 0;
  double sum = 0;
};

}  // namespace barn
