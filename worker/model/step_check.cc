#include "worker/model/step_check.h"

#include "absl/strings/str_format.h"
#include "proto/base/status.h"

namespace barn {
namespace {

absl::Status CheckSequence(const SequenceStep& sequence, size_t index, const StepBounds& limits) {
  const auto rows = static_cast<int64_t>(sequence.tokens.size());
  const int64_t first = sequence.first_position;
  if (rows < 1 || first < 0 || first > limits.context_tokens || rows > limits.context_tokens - first) {
    return absl::InvalidArgumentError(
        absl::StrFormat("sequence %d of the step: %d rows from position %d do not fit the context of %d tokens", index,
                        rows, first, limits.context_tokens));
  }
  const int64_t blocks = (first + rows + limits.kv_block_tokens - 1) / limits.kv_block_tokens;
  if (static_cast<int64_t>(sequence.blocks.size()) < blocks) {
    return absl::InvalidArgumentError(
        absl::StrFormat("sequence %d of the step: %d KV blocks, but its %d positions need %d", index,
                        sequence.blocks.size(), first + rows, blocks));
  }
  for (const int32_t block : sequence.blocks.first(blocks)) {
    if (block < 0 || block >= limits.kv_blocks) {
      return absl::InvalidArgumentError(
          absl::StrFormat("sequence %d of the step: KV block %d is not in [0, %d)", index, block, limits.kv_blocks));
    }
  }
  if (limits.is_first) {
    for (const int32_t token : sequence.tokens) {
      if (token < 0 || token >= limits.vocabulary) {
        return absl::InvalidArgumentError(
            absl::StrFormat("sequence %d of the step: token %d is not in [0, %d)", index, token, limits.vocabulary));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

int64_t CountRows(const StepInput& step) {
  int64_t rows = 0;
  for (const SequenceStep& sequence : step.sequences) {
    rows += static_cast<int64_t>(sequence.tokens.size());
  }
  return rows;
}

absl::Status CheckStep(const StepInput& step, const StepBounds& limits) {
  const int64_t rows = CountRows(step);
  if (rows < 1 || rows > limits.step_tokens_max) {
    return absl::InvalidArgumentError(
        absl::StrFormat("a step of %d rows; this slice takes 1 to %d", rows, limits.step_tokens_max));
  }
  for (size_t i = 0; i < step.sequences.size(); ++i) {
    BARN_RETURN_IF_ERROR(CheckSequence(step.sequences[i], i, limits));
  }
  const int64_t activations = limits.is_first ? 0 : rows * limits.width;
  if (static_cast<int64_t>(step.activations.size()) != activations) {
    return absl::InvalidArgumentError(absl::StrFormat("a step of %d rows came with %d activations, want %d", rows,
                                                      step.activations.size(), activations));
  }
  return absl::OkStatus();
}

absl::Status CheckLogitRows(std::span<const int32_t> logit_rows, int64_t rows) {
  if (static_cast<int64_t>(logit_rows.size()) > rows) {
    return absl::InvalidArgumentError(
        absl::StrFormat("logits of %d rows, but the step has %d rows", logit_rows.size(), rows));
  }
  for (const int32_t row : logit_rows) {
    if (row < 0 || row >= rows) {
      return absl::InvalidArgumentError(absl::StrFormat("logits of row %d, but the step has %d rows", row, rows));
    }
  }
  return absl::OkStatus();
}

}  // namespace barn
