#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "coordinator/cli/local_cluster.h"
#include "coordinator/cli/statistics.h"

namespace barn {

struct BenchWork {
  int64_t prompt_tokens = 512;
  int64_t generated_tokens = 128;  // Timed, of each stream.
  int64_t depth_tokens = 0;        // In the context before the first timed token.
  int streams = 1;                 // That generate together.
  int repetitions = 5;
};

// Tokens of a stream's context before its first generated one: its prompt, which cannot be empty.
int64_t FilledTokens(const BenchWork& work);

// Positions of key-value cache that the work needs.
int64_t ContextTokens(const BenchWork& work);

// Tokens per second of a prompt up to its first generated token. One repetition before those that count.
absl::StatusOr<Summary> MeasurePrompt(ServedCluster& cluster, const BenchWork& work);

// Tokens per second of all streams together, each at the same depth; computing the depth is not timed. One repetition
// before those that count. FailedPrecondition: the streams did not run together.
absl::StatusOr<Summary> MeasureGeneration(ServedCluster& cluster, const BenchWork& work);

}  // namespace barn
