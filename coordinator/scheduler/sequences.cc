#include "coordinator/scheduler/sequences.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"

namespace barn {
namespace {

absl::Status CheckRange(const char* name, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat("%s is %d, outside %d..%d", name, value, low, high));
}

}  // namespace

Sequence::Sequence(int64_t id, GenerateRequest request_in, uint64_t fallback_seed)
    : id(id),
      request(std::move(request_in)),
      sampler(request.sampling, fallback_seed),
      tokens(std::exchange(request.prompt, {})) {
  prompt_tokens = static_cast<int64_t>(tokens.size());
}

absl::Status CheckRequest(const GenerateRequest& request, const RequestBounds& bounds) {
  const int64_t prompt_tokens = static_cast<int64_t>(request.prompt.size());
  if (prompt_tokens == 0) return absl::InvalidArgumentError("the prompt has no tokens");
  if (request.max_tokens < 0) {
    return absl::InvalidArgumentError(absl::StrFormat("max_tokens is %d, below 0", request.max_tokens));
  }
  if (prompt_tokens > bounds.sequence_tokens_max || request.max_tokens > bounds.sequence_tokens_max - prompt_tokens) {
    return absl::InvalidArgumentError(
        absl::StrFormat("the prompt has %d tokens and max_tokens is %d: together more than the context of %d tokens",
                        prompt_tokens, request.max_tokens, bounds.sequence_tokens_max));
  }
  for (size_t i = 0; i < request.prompt.size(); ++i) {
    if (request.prompt[i] < 0 || request.prompt[i] >= bounds.vocabulary) {
      return absl::InvalidArgumentError(absl::StrFormat("prompt token %d is %d, outside the vocabulary of %d", i,
                                                        request.prompt[i], bounds.vocabulary));
    }
  }
  if (auto status = Validate(request.sampling, bounds.vocabulary); !status.ok()) return status;
  if (auto status = CheckRange("top_logprobs", request.top_logprobs, 0, bounds.vocabulary); !status.ok()) return status;
  return CheckRange("score_top_logprobs", request.score_top_logprobs, 0, bounds.vocabulary);
}

void Sequences::Admit(int64_t running_max) {
  while (!waiting_.empty() && static_cast<int64_t>(running_.size()) < running_max) {
    Sequence& next = waiting_.front();
    const int64_t blocks = blocks_.BlocksFor(next.positions_max());
    if (!blocks_.CanTake(blocks)) return;
    next.blocks = blocks_.Take(blocks);
    const int64_t id = next.id;
    running_.emplace(id, std::move(next));
    waiting_.pop_front();
  }
}

Sequence* Sequences::FindRunning(int64_t id) {
  const auto found = running_.find(id);
  return found == running_.end() ? nullptr : &found->second;
}

bool Sequences::Contains(int64_t id) const {
  return running_.contains(id) ||
         std::any_of(waiting_.begin(), waiting_.end(), [&](const Sequence& sequence) { return sequence.id == id; });
}

bool Sequences::RemoveWaiting(int64_t id) {
  return std::erase_if(waiting_, [&](const Sequence& sequence) { return sequence.id == id; }) > 0;
}

void Sequences::Release(int64_t id) {
  const auto found = running_.find(id);
  if (found->second.blocks_sent > 0) released_.push_back(id);
  blocks_.GiveBack(found->second.blocks);
  running_.erase(found);
}

void Sequences::Reset(KvBlocks blocks) {
  blocks_ = std::move(blocks);
  waiting_.clear();
  running_.clear();
  released_.clear();
}

}  // namespace barn
