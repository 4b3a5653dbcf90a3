#pragma once

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "worker/model/slice.h"

namespace barn {

// What a slice was built for.
struct StepBounds {
  int64_t width = 0;
  int64_t vocabulary = 0;
  int64_t context_tokens = 0;
  int64_t kv_blocks = 0;
  int64_t kv_block_tokens = 0;
  int64_t step_tokens_max = 0;
  bool is_first = false;
};

// InvalidArgument names the sequence (its index in the step) and the number that is out of bounds.
absl::Status CheckStep(const StepInput& step, const StepBounds& limits);

// InvalidArgument: more rows than the step has, or one that is not in [0, rows).
absl::Status CheckLogitRows(std::span<const int32_t> logit_rows, int64_t rows);

// Rows of the step.
int64_t CountRows(const StepInput& step);

}  // namespace barn
