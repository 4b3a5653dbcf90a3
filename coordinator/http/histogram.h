#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "coordinator/scheduler/histogram_picture.h"

namespace barn {

// Counts values by upper bounds, as Prometheus histograms do. Thread-safe.
class Histogram {
 public:
  // Ascending; what is above the last counts only in the total.
  explicit Histogram(std::span<const double> bounds)
      : bounds_(bounds.begin(), bounds.end()), counts_(bounds.size() + 1) {}

  void Add(double value) {
    size_t bucket = 0;
    while (bucket < bounds_.size() && value > bounds_[bucket]) ++bucket;
    counts_[bucket].fetch_add(1, std::memory_order_relaxed);
    sum_.fetch_add(value, std::memory_order_relaxed);
  }

  HistogramPicture Read() const {
    HistogramPicture picture(bounds_);
    for (size_t i = 0; i < counts_.size(); ++i) {
      picture.count += counts_[i].load(std::memory_order_relaxed);
      if (i < bounds_.size()) picture.up_to[i] = picture.count;
    }
    picture.sum = sum_.load(std::memory_order_relaxed);
    return picture;
  }

 private:
  const std::vector<double> bounds_;
  std::vector<std::atomic<int64_t>> counts_;
  std::atomic<double> sum_{0};
};

}  // namespace barn
