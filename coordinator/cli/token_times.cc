#include "coordinator/cli/token_times.h"

#include <algorithm>

#include "absl/strings/str_format.h"

namespace barn {

absl::StatusOr<double> TogetherTokensPerSecond(std::span<const std::vector<absl::Time>> streams, int64_t tokens_min) {
  absl::Time begin = absl::InfinitePast(), end = absl::InfiniteFuture();
  for (const std::vector<absl::Time>& times : streams) {
    begin = std::max(begin, times.empty() ? absl::InfiniteFuture() : times.front());
    end = std::min(end, times.empty() ? absl::InfinitePast() : times.back());
  }
  double tokens_per_s = 0;
  for (const std::vector<absl::Time>& times : streams) {
    const auto first = std::lower_bound(times.begin(), times.end(), begin);
    const auto behind = std::upper_bound(first, times.end(), end);
    const int64_t tokens = behind - first - 1;
    if (tokens < std::max<int64_t>(tokens_min, 1)) {
      return absl::FailedPreconditionError(absl::StrFormat(
          "of %d streams one generated only %d tokens while all did; ask for more tokens or a larger --context",
          streams.size(), std::max<int64_t>(tokens, 0)));
    }
    tokens_per_s += static_cast<double>(tokens) / absl::ToDoubleSeconds(*(behind - 1) - *first);
  }
  return tokens_per_s;
}

}  // namespace barn
