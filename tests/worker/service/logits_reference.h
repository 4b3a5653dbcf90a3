#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>
#include <vector>

#include "kernels/device.h"

namespace barn {

// What Device::RankLogits must give, in plain words and double.
inline LogitRanking RankPlainly(std::span<const float> logits, int64_t count) {
  const auto value = [&](int32_t id) {
    return std::isnan(logits[id]) ? -std::numeric_limits<float>::infinity() : logits[id];
  };
  std::vector<int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::stable_sort(ids.begin(), ids.end(), [&](int32_t a, int32_t b) { return value(a) > value(b); });
  LogitRanking result{.logits = logits, .count = std::clamp<int64_t>(count, 0, std::ssize(logits))};
  for (int64_t i = 0; i < result.count; ++i) result.best.push_back({ids[i], logits[ids[i]]});
  result.largest = value(ids[0]);
  double sum = 0;
  for (const int32_t id : ids) sum += std::exp(static_cast<double>(value(id)) - result.largest);
  result.logsumexp = std::isinf(result.largest) ? result.largest : result.largest + std::log(sum);
  return result;
}

}  // namespace barn
