#pragma once

#include <span>

namespace barn {

// Of repeated measurements.
struct Summary {
  double median = 0;
  double min = 0;
  double max = 0;
};

// values must not be empty.
Summary Summarize(std::span<const double> values);

}  // namespace barn
