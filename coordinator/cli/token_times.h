#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace barn {

// Tokens per second of several streams together while all of them generate: from the last stream's first token to the
// first stream's last one. Within it, each stream counts from its first to its last token; the sum is returned.
// streams: arrival times of each one's generated tokens, in order. FailedPrecondition: a stream has fewer than
// `tokens_min` tokens behind its first one there, so the streams hardly ran together.
absl::StatusOr<double> TogetherTokensPerSecond(std::span<const std::vector<absl::Time>> streams, int64_t tokens_min);

}  // namespace barn
