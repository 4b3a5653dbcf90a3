#include "coordinator/text/sampling/penalties.h"

#include <limits>

namespace barn {

Penalties::Penalties(const SamplingParams& params)
    : repetition_window_(kRepetitionWindowTokens), generated_window_(std::numeric_limits<int64_t>::max()) {
  if (!params.Uses(SamplerKind::kPenalties)) return;
  repetition_ = static_cast<float>(params.repetition_penalty);
  presence_ = static_cast<float>(params.presence_penalty);
  frequency_ = static_cast<float>(params.frequency_penalty);
  if (!params.repeat_last_n.has_value()) return;
  repetition_window_ = *params.repeat_last_n < 0 ? kPenaltyWindowTokensMax : *params.repeat_last_n;
  generated_window_ = *params.repeat_last_n < 0 ? generated_window_ : *params.repeat_last_n;
}

void Penalties::Count(int32_t id, int64_t in_window, int64_t generated) {
  Counts& counts = counts_[id];
  counts.in_window += in_window;
  counts.generated += generated;
  if (counts.in_window == 0 && counts.generated == 0) counts_.erase(id);
}

void Penalties::Update(std::span<const int32_t> tokens, int64_t prompt_tokens) {
  if (!active()) return;
  for (; seen_ < std::ssize(tokens); ++seen_) {
    Count(tokens[seen_], 1, seen_ >= prompt_tokens ? 1 : 0);
    if (const int64_t gone = seen_ - repetition_window_; gone >= 0) Count(tokens[gone], -1, 0);
    if (const int64_t gone = seen_ - generated_window_; gone >= prompt_tokens) Count(tokens[gone], 0, -1);
  }
}

void Penalties::Forget() {
  seen_ = 0;
  counts_.clear();
}

void Penalties::AddEdits(std::vector<LogitEdit>& edits) const {
  for (const auto& [id, counts] : counts_) {
    const LogitEdit edit{
        .id = id,
        .add = counts.generated > 0 ? -presence_ - frequency_ * static_cast<float>(counts.generated) : 0.0f,
        .repetition = counts.in_window > 0 ? repetition_ : 1.0f};
    if (edit.add != 0 || edit.repetition != 1) edits.push_back(edit);
  }
}

}  // namespace barn
