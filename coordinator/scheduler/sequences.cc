#include "coordinator/scheduler/sequences.h"

#include <algorithm>
#include <iterator>
#include <string_view>
#include <tuple>
#include <utility>

#include "absl/strings/str_format.h"
#include "coordinator/scheduler/adapters.h"

namespace barn {
namespace {

absl::Status CheckRange(const char* name, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat("%s is %d, outside %d..%d", name, value, low, high));
}

// Embeddings are asked for with nothing else, and of an encoder nothing else can be asked.
absl::Status CheckPooling(const GenerateRequest& request, const RequestBounds& bounds) {
  const auto prompt_tokens = static_cast<int64_t>(request.prompt.size());
  if (request.pooling == Pooling::kNone) {
    if (bounds.whole_tokens_max == 0) return absl::OkStatus();
    return absl::InvalidArgumentError("the model is an encoder: it gives embeddings and generates no text");
  }
  if (!bounds.embeddings || (request.pooling == Pooling::kScore && !bounds.scores)) {
    return absl::InvalidArgumentError(bounds.embeddings ? "the model has no classification head, so it gives no scores"
                                                        : "embeddings are not given here");
  }
  if (request.max_tokens != 0 || request.score_from >= 0 || request.constraint) {
    return absl::InvalidArgumentError(
        absl::StrFormat("an embedding is asked for together with max_tokens %d, scores from %d or a grammar",
                        request.max_tokens, request.score_from));
  }
  if (bounds.whole_tokens_max > 0 && prompt_tokens > bounds.whole_tokens_max) {
    return absl::InvalidArgumentError(absl::StrFormat("the prompt has %d tokens, this encoder reads at most %d at once",
                                                      prompt_tokens, bounds.whole_tokens_max));
  }
  return absl::OkStatus();
}

absl::Status CheckTenant(const GenerateRequest& request) {
  const Tenant& tenant = request.tenant;
  if (request.timeout <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(absl::StrFormat("timeout is %s", absl::FormatDuration(request.timeout)));
  }
  if (tenant.name.size() > kTenantBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrFormat("the tenant's name has %d bytes, at most %d", tenant.name.size(), kTenantBytesMax));
  }
  if (auto status = CheckRange("weight", tenant.weight, 1, kTenantWeightMax); !status.ok()) return status;
  return CheckRange("priority", tenant.priority, -kPriorityMax, kPriorityMax);
}

}  // namespace

Sequence::Sequence(int64_t id, GenerateRequest request_in, uint64_t fallback_seed)
    : id(id),
      request(std::move(request_in)),
      sampler(request.sampling, fallback_seed),
      cache_scope(CacheScope(request.tenant, request.adapters)),
      tokens(std::exchange(request.prompt, {})) {
  prompt_tokens = known_at_start = known();
  next_score = std::max<int64_t>(1, request.score_from);
  if (request.thoughts != nullptr) thoughts.emplace(request.thoughts);
  WatchBanned();
}

void Sequence::WatchBanned() {
  const SamplingParams& sampling = sampler.params();
  if (sampling.banned_strings.empty()) return;
  banned = std::make_unique<BannedStrings>(sampling.banned_strings, *sampling.tokenizer);
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
  if (auto status = CheckTenant(request); !status.ok()) return status;
  if (auto status = CheckPooling(request, bounds); !status.ok()) return status;
  if (auto status = CheckAdapterUses(request.adapters); !status.ok()) return status;
  if (request.constraint && request.ignore_end) {
    return absl::InvalidArgumentError("ignore_eos cannot be combined with a grammar, which says where the answer ends");
  }
  if (request.constraint && request.constraint.tokens->vocabulary() != bounds.vocabulary) {
    return absl::InvalidArgumentError(absl::StrFormat("the grammar is for a vocabulary of %d tokens, the model has %d",
                                                      request.constraint.tokens->vocabulary(), bounds.vocabulary));
  }
  if (auto status = CheckRange("top_logprobs", request.top_logprobs, 0, bounds.vocabulary); !status.ok()) return status;
  return CheckRange("score_top_logprobs", request.score_top_logprobs, 0, bounds.vocabulary);
}

absl::Status Sequences::Add(int64_t id, GenerateRequest request, uint64_t fallback_seed, absl::Time deadline) {
  Sequence& added = waiting_.try_emplace(id, id, std::move(request), fallback_seed).first->second;
  if (absl::Status status = StartGrammar(added); !status.ok()) {
    waiting_.erase(id);
    return status;
  }
  added.deadline = deadline;
  admitted_.Enter(added.request.tenant);
  served_.Enter(added.request.tenant);
  blocked_free_ = -1;
  return absl::OkStatus();
}

absl::Status Sequences::StartGrammar(Sequence& sequence) {
  if (!sequence.request.constraint) return absl::OkStatus();
  sequence.matcher = matchers_->Start(sequence.request.constraint);
  if (sequence.matcher->ended()) return absl::InvalidArgumentError("the grammar allows no answer but an empty one");
  auto mask = sequence.matcher->Mask();
  if (!mask.ok()) return std::move(mask).status();
  sequence.mask = *std::move(mask);
  return absl::OkStatus();
}

void Sequences::Admit(int64_t running_max) {
  if (blocked_free_ >= 0 && blocks_.free() <= blocked_free_) return;
  blocked_free_ = -1;
  while (!waiting_.empty() && static_cast<int64_t>(running_.size()) < running_max) {
    Sequence& next = *NextToAdmit(1).front();
    if (Start(next)) {
      running_.insert(waiting_.extract(next.id));
    } else if (!StartBehind(next)) {
      blocked_free_ = blocks_.free();
      return;
    }
  }
}

std::vector<Sequence*> Sequences::NextToAdmit(size_t count) {
  const auto goes_before = [&](const Sequence* a, const Sequence* b) {
    const auto rank = [&](const Sequence& sequence) {
      return std::tuple(-sequence.request.tenant.priority, admitted_.Clock(sequence.request.tenant), sequence.id);
    };
    return rank(*a) < rank(*b);
  };
  std::vector<Sequence*> next;
  for (auto& [id, sequence] : waiting_) next.push_back(&sequence);
  count = std::min(count, next.size());
  std::partial_sort(next.begin(), next.begin() + static_cast<ptrdiff_t>(count), next.end(), goes_before);
  next.resize(count);
  return next;
}

bool Sequences::StartBehind(Sequence& first) {
  constexpr size_t kLookedAt = 8;
  for (Sequence* other : NextToAdmit(kLookedAt)) {
    const int64_t tokens = Promise(*other);
    if (other == &first || other->request.tenant.priority < first.request.tenant.priority ||
        first.overtaken + tokens > first.known() || !Start(*other)) {
      continue;
    }
    first.overtaken += tokens;
    running_.insert(waiting_.extract(other->id));
    return true;
  }
  return false;
}

bool Sequences::Start(Sequence& sequence) {
  KvBlocks::Content content = NextContent(sequence);
  while (!content.tokens.empty()) {
    const KvBlocks::Found found = blocks_.Find(content);
    if (found.block < 0) break;
    blocks_.Hold(found.block);
    sequence.blocks.push_back(found.block);
    sequence.prefix.push_back(found.name);
    content = NextContent(sequence);
  }
  // Everyone who runs may take one block more before anybody has to go for it.
  const int64_t needed = blocks_.BlocksFor(sequence.known()) - sequence.prefix_blocks();
  if (!blocks_.CanTake(needed + static_cast<int64_t>(running_.size()))) {
    Stop(sequence);
    return false;
  }
  const std::vector<int32_t> taken = blocks_.Take(needed);
  sequence.blocks.insert(sequence.blocks.end(), taken.begin(), taken.end());
  sequence.known_at_start = sequence.known();
  sequence.running = true;
  if (sequence.passed == 0) cache_queries_ += sequence.known();
  CountFound(sequence, sequence.prefix_blocks() * blocks_.block_tokens());
  if (sequence.promised == 0) {
    sequence.promised = Promise(sequence);
    admitted_.Charge(sequence.request.tenant, sequence.promised);
  }
  return true;
}

void Sequences::Stop(Sequence& sequence) {
  if (sequence.blocks_sent > 0) released_.push_back(sequence.id);
  blocks_.GiveBack(sequence.blocks);
  sequence.blocks.clear();
  sequence.prefix.clear();
  sequence.blocks_sent = 0;
  sequence.scheduled = sequence.computed = 0;
  sequence.steps_in_flight = 0;
  sequence.running = false;
}

Sequence* Sequences::FindRunning(int64_t id) {
  const auto found = running_.find(id);
  return found == running_.end() ? nullptr : &found->second;
}

Sequence* Sequences::FindWaiting(int64_t id) {
  const auto found = waiting_.find(id);
  return found == waiting_.end() ? nullptr : &found->second;
}

void Sequences::RemoveWaiting(int64_t id) {
  const auto found = waiting_.find(id);
  EndAccount(found->second);
  waiting_.erase(found);
  blocked_free_ = -1;
}

void Sequences::Release(int64_t id) {
  const auto found = running_.find(id);
  Stop(found->second);
  EndAccount(found->second);
  running_.erase(found);
  blocked_free_ = -1;
}

// What was promised and not used is the tenant's again.
void Sequences::EndAccount(const Sequence& sequence) {
  constexpr double kMemory = 16;  // Requests.
  if (sequence.promised > 0) answer_tokens_ += (static_cast<double>(sequence.generated()) - answer_tokens_) / kMemory;
  admitted_.Charge(sequence.request.tenant, sequence.spent - sequence.promised);
  admitted_.Leave(sequence.request.tenant);
  served_.Leave(sequence.request.tenant);
}

Sequence* Sequences::LastBehind(const Sequence& sequence) {
  Sequence* last = nullptr;
  for (auto& [id, other] : running_) {
    if (other.finished || other.steps_in_flight > 0 || !sequence.GoesBefore(other)) continue;
    if (last == nullptr || last->GoesBefore(other)) last = &other;
  }
  return last;
}

bool Sequences::Reserve(Sequence& sequence, int64_t positions) {
  const int64_t needed = blocks_.BlocksFor(positions) - static_cast<int64_t>(sequence.blocks.size());
  if (needed <= 0) return true;
  while (!blocks_.CanTake(needed)) {
    Sequence* last = LastBehind(sequence);
    if (last == nullptr) return false;
    Stop(*last);
    waiting_.insert(running_.extract(last->id));
    ++preemptions_;
  }
  const std::vector<int32_t> taken = blocks_.Take(needed);
  sequence.blocks.insert(sequence.blocks.end(), taken.begin(), taken.end());
  return true;
}

KvBlocks::Content Sequences::NextContent(const Sequence& sequence) const {
  const int64_t block_tokens = blocks_.block_tokens();
  // All rows of some embeddings are wanted,
  const Pooling pooling = sequence.request.pooling;
  if (whole_ || (pooling != Pooling::kNone && pooling != Pooling::kLast)) return {};
  // else the row of the last token, and those whose scores are.
  int64_t end = sequence.known() - 1;
  if (sequence.request.score_from >= 0 && sequence.next_score < sequence.prompt_tokens) {
    end = std::min(end, sequence.next_score - 1);
  }
  const int64_t begin = sequence.prefix_blocks() * block_tokens;
  if (begin + block_tokens > end) return {};
  return ContentAt(sequence, begin);
}

KvBlocks::Content Sequences::ContentAt(const Sequence& sequence, int64_t begin) const {
  return {.parent = sequence.prefix.empty() ? 0 : sequence.prefix.back(),
          .tenant = begin == 0 ? std::string_view(sequence.cache_scope) : std::string_view(),
          .tokens = std::span(sequence.tokens).subspan(begin, blocks_.block_tokens())};
}

void Sequences::SkipFound(Sequence& sequence) {
  const int64_t block_tokens = blocks_.block_tokens();
  while (sequence.scheduled == sequence.prefix_blocks() * block_tokens) {
    const KvBlocks::Content content = NextContent(sequence);
    if (content.tokens.empty()) return;
    const KvBlocks::Found found = blocks_.Find(content);
    if (found.block < 0) return;
    blocks_.Hold(found.block);
    if (sequence.prefix.size() < sequence.blocks.size()) {
      blocks_.GiveBack({&sequence.blocks[sequence.prefix.size()], 1});
    } else {
      sequence.blocks.emplace_back();
    }
    sequence.blocks[sequence.prefix.size()] = found.block;
    sequence.prefix.push_back(found.name);
    CountFound(sequence, sequence.scheduled + block_tokens);
  }
}

// What is passed for the second time has been told and paid before.
void Sequences::CountFound(Sequence& sequence, int64_t end) {
  const int64_t fresh = std::min(end, sequence.prompt_tokens) - std::max(sequence.scheduled, sequence.passed);
  if (fresh > 0) {
    sequence.cached_tokens += fresh;
    cache_hits_ += fresh;
  }
  sequence.passed = std::max(sequence.passed, end);
  sequence.scheduled = end;
  if (sequence.steps_in_flight == 0) sequence.computed = end;
}

void Sequences::Advance(Sequence& sequence, int64_t end) {
  const int64_t fresh = end - std::max(sequence.scheduled, sequence.passed);
  if (fresh > 0) {
    sequence.spent += fresh;
    served_.Charge(sequence.request.tenant, fresh);
  }
  sequence.passed = std::max(sequence.passed, end);
  sequence.scheduled = end;
}

void Sequences::Publish(Sequence& sequence) {
  if (whole_) return;
  const int64_t block_tokens = blocks_.block_tokens();
  const int64_t end = std::min(sequence.scheduled, sequence.known());
  while ((sequence.prefix_blocks() + 1) * block_tokens <= end) {
    sequence.prefix.push_back(blocks_.Publish(sequence.blocks[sequence.prefix.size()],
                                              ContentAt(sequence, sequence.prefix_blocks() * block_tokens)));
  }
}

void Sequences::LeaveShared(Sequence& sequence) {
  const int64_t kept = sequence.scheduled / blocks_.block_tokens();
  if (kept >= sequence.prefix_blocks()) return;
  blocks_.GiveBack(std::span(sequence.blocks).subspan(kept));
  sequence.blocks.resize(kept);
  sequence.prefix.resize(kept);
  sequence.blocks_sent = std::min(sequence.blocks_sent, kept);
  sequence.scheduled = sequence.computed = kept * blocks_.block_tokens();
}

void Sequences::Suspend() {
  while (!running_.empty()) {
    const auto first = running_.begin();
    Stop(first->second);
    if (first->second.finished) {
      EndAccount(first->second);
      running_.erase(first);
    } else {
      waiting_.insert(running_.extract(first));
    }
  }
  released_.clear();
  blocks_ = KvBlocks();
  blocked_free_ = -1;
}

}  // namespace barn
