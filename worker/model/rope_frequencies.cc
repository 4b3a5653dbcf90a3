#include "worker/model/rope_frequencies.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "absl/strings/str_format.h"

namespace barn {
namespace {

// The (fractional) pair that turns `turns` times within the original context.
double PairOfTurns(const RopeSpec& spec, double turns) {
  const double width = static_cast<double>(spec.width);
  return width * std::log(static_cast<double>(spec.original_context) / (turns * 2 * std::numbers::pi)) /
         (2 * std::log(spec.base));
}

// How much of the unscaled angle pair `pair` keeps, in [0, 1].
double YarnKeep(const RopeSpec& spec, int64_t pair) {
  const double low = std::max(0.0, std::floor(PairOfTurns(spec, spec.beta_fast)));
  const double high = std::min(static_cast<double>(spec.width - 1), std::ceil(PairOfTurns(spec, spec.beta_slow)));
  return 1 - std::clamp((static_cast<double>(pair) - low) / std::max(0.001, high - low), 0.0, 1.0);
}

}  // namespace

absl::StatusOr<RopeTable> BuildRopeTable(const RopeSpec& spec, std::span<const float> factors) {
  if (spec.width <= 0 || spec.width % 2 != 0) {
    return absl::InvalidArgumentError(absl::StrFormat("the rotated width of a head is %d, not even", spec.width));
  }
  const int64_t pairs = spec.width / 2;
  if (!factors.empty() && static_cast<int64_t>(factors.size()) != pairs) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s has %d entries, want %d", spec.factors_tensor, factors.size(), pairs));
  }
  RopeTable table;
  table.magnitude = static_cast<float>(spec.magnitude);
  table.inverse_frequencies.resize(pairs);
  for (int64_t i = 0; i < pairs; ++i) {
    double frequency = std::pow(spec.base, -2.0 * static_cast<double>(i) / static_cast<double>(spec.width));
    if (!factors.empty()) {
      if (!(factors[i] > 0) || !std::isfinite(factors[i])) {
        return absl::InvalidArgumentError(
            absl::StrFormat("%s holds %g at entry %d, want a positive factor", spec.factors_tensor, factors[i], i));
      }
      frequency /= factors[i];
    }
    if (spec.scaling == RopeScaling::kLinear) {
      frequency /= spec.factor;
    } else if (spec.scaling == RopeScaling::kYarn) {
      const double keep = YarnKeep(spec, i);
      frequency = frequency * keep + frequency / spec.factor * (1 - keep);
    }
    table.inverse_frequencies[i] = static_cast<float>(frequency);
  }
  return table;
}

}  // namespace barn
