#include "coordinator/scheduler/draws.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "absl/strings/str_format.h"

namespace barn {
namespace {

// What banned strings may cost: tries at one step, which nobody else's step may wait for, and draws of a whole answer.
constexpr int kTriesMax = 200;
constexpr int64_t kDrawsPerToken = 8;
constexpr int64_t kDrawsFree = 64;

// Row: SequenceResult or RowResult.
template <class Row>
std::vector<Candidate> ReadCandidates(const Row& result) {
  std::vector<Candidate> candidates;
  candidates.reserve(result.candidate_ids_size());
  for (int i = 0; i < result.candidate_ids_size(); ++i) {
    candidates.push_back({.id = result.candidate_ids(i), .logit = result.candidate_logits(i)});
  }
  return candidates;
}

template <class Row>
HeldDraw ReadDraw(const Row& row, int top_logprobs) {
  HeldDraw draw{.token = {},
                .candidates = ReadCandidates(row),
                .all = {.logsumexp = row.logsumexp(), .deviation = row.logit_deviation()}};
  draw.token.top = TopLogprobs(row.candidate_ids(), row.candidate_logits(), row.logsumexp(), top_logprobs);
  return draw;
}

void Draw(Sampler& sampler, HeldDraw& draw) {
  draw.token.id = sampler.Draw(draw.candidates, draw.all);
  for (const Candidate& candidate : draw.candidates) {
    if (candidate.id != draw.token.id) continue;
    draw.token.logprob = static_cast<float>(LogProbability(candidate.logit, draw.all.logsumexp));
    return;
  }
}

// Takes back the newest `count` tokens.
void TakeBack(int64_t count, Sequence& sequence) {
  sequence.held.resize(sequence.held.size() - static_cast<size_t>(count));
  sequence.tokens.resize(sequence.tokens.size() - static_cast<size_t>(count));
  // Where it began to run again behind this place: who has computed all that is known is no prompt.
  for (int64_t* position : {&sequence.computed, &sequence.scheduled, &sequence.known_at_start}) {
    *position = std::min(*position, sequence.known());
  }
  sequence.sampler.Forget();
}

// The same, and draws another token in the place of their first. False: there is none.
bool Redraw(int64_t count, Sequence& sequence) {
  HeldDraw draw = std::move(sequence.held[sequence.held.size() - static_cast<size_t>(count)]);
  TakeBack(count, sequence);
  sequence.matcher = draw.matcher;
  sequence.thoughts = draw.thoughts;
  std::erase_if(draw.candidates, [&](const Candidate& c) { return c.id == draw.token.id; });
  if (draw.candidates.empty()) return false;
  Draw(sequence.sampler, draw);
  sequence.tokens.push_back(draw.token.id);
  sequence.held.push_back(std::move(draw));
  return true;
}

FinishReason Ban(Sequence& sequence, RequestUpdate& update) {
  int tries = 0;
  for (int64_t back = 0; (back = sequence.banned->Push(sequence.tokens.back())) > 0;) {
    if (sequence.sampler.draws() > kDrawsPerToken * sequence.request.max_tokens + kDrawsFree) {
      TakeBack(back, sequence);
      ReleaseHeld(0, sequence, update);
      return FinishReason::kLength;
    }
    if (++tries > kTriesMax || !Redraw(back, sequence)) {
      update.status = absl::InvalidArgumentError(absl::StrFormat(
          "banned_strings leave nothing to say after %d tokens, %d were tried", sequence.generated(), tries));
      return FinishReason::kError;
    }
  }
  ReleaseHeld(sequence.banned->held(), sequence, update);
  return FinishReason::kNone;
}

// Moves the grammar behind the newest token. Returns why the request is over, kNone when it goes on.
FinishReason AdvanceGrammar(Sequence& sequence, RequestUpdate& update) {
  absl::Status status = sequence.matcher->Accept(sequence.tokens.back());
  if (status.ok() && sequence.matcher->ended()) return FinishReason::kEnd;
  if (status.ok()) {
    auto mask = sequence.matcher->Mask();
    if (mask.ok()) {
      sequence.mask = *std::move(mask);
      return FinishReason::kNone;
    }
    status = std::move(mask).status();
  }
  update.status = std::move(status);
  return FinishReason::kError;
}

// Moves `matcher` behind all of `ids`, and gives what it allows then. Null: it does not take them.
std::shared_ptr<const grammar::TokenMask> MaskBehind(std::span<const int32_t> ids, grammar::Matcher& matcher) {
  for (const int32_t id : ids) {
    if (!matcher.Accept(id).ok() || matcher.ended()) return nullptr;
  }
  auto mask = matcher.Mask();
  return mask.ok() ? *std::move(mask) : nullptr;
}

// Lets the answer go on with the end of its thoughts if they have reached their limit with the newest token. A grammar
// that does not allow that leaves them without a limit. What is said so is certain: its log probability is 0.
void LimitThoughts(Sequence& sequence, RequestUpdate& update) {
  if (!sequence.thoughts || !sequence.thoughts->Push(sequence.tokens.back())) return;
  std::span<const int32_t> closing = sequence.thoughts->limit().closing;
  closing =
      closing.first(std::min(closing.size(), static_cast<size_t>(sequence.request.max_tokens - sequence.generated())));
  if (sequence.matcher) {
    grammar::Matcher matcher = *sequence.matcher;
    auto mask = MaskBehind(closing, matcher);
    if (mask == nullptr) return;
    sequence.matcher = std::move(matcher);
    sequence.mask = std::move(mask);
  }
  ReleaseHeld(0, sequence, update);
  sequence.WatchBanned();
  for (const int32_t id : closing) {
    sequence.tokens.push_back(id);
    update.tokens.emplace_back().id = id;
    if (sequence.request.top_logprobs > 0) update.tokens.back().top.push_back({.id = id});
  }
}

}  // namespace

std::vector<TokenLogprob> TopLogprobs(const google::protobuf::RepeatedField<int32_t>& ids,
                                      const google::protobuf::RepeatedField<float>& logits, double logsumexp,
                                      int count) {
  std::vector<TokenLogprob> top;
  for (int i = 0; i < count && i < ids.size(); ++i) {
    top.push_back({.id = ids[i], .logprob = static_cast<float>(LogProbability(logits[i], logsumexp))});
  }
  return top;
}

FinishReason DrawToken(const proto::SequenceResult& result, const std::set<int32_t>& end_ids, Sequence& sequence,
                       RequestUpdate& update) {
  HeldDraw draw = ReadDraw(result, sequence.request.top_logprobs);
  Draw(sequence.sampler, draw);
  static_assert(std::endian::native == std::endian::little);
  draw.token.full_logits.resize(result.full_logits().size() / 4);
  if (!draw.token.full_logits.empty()) {
    std::memcpy(draw.token.full_logits.data(), result.full_logits().data(), draw.token.full_logits.size() * 4);
  }
  sequence.tokens.push_back(draw.token.id);
  if (sequence.banned == nullptr) {
    update.tokens.push_back(std::move(draw.token));
  } else {
    draw.matcher = sequence.matcher;
    draw.thoughts = sequence.thoughts;
    sequence.held.push_back(std::move(draw));
    const FinishReason reason = Ban(sequence, update);
    if (reason != FinishReason::kNone) return reason;
  }
  const bool ends = !sequence.request.ignore_end && end_ids.contains(sequence.tokens.back());
  const FinishReason reason = ends               ? FinishReason::kEnd
                              : sequence.matcher ? AdvanceGrammar(sequence, update)
                                                 : FinishReason::kNone;
  if (reason == FinishReason::kEnd) ReleaseHeld(0, sequence, update);
  if (reason == FinishReason::kNone) LimitThoughts(sequence, update);
  return reason;
}

FinishReason DrawDrafted(std::span<const int32_t> draft, const proto::SequenceResult& result,
                         const std::set<int32_t>& end_ids, Sequence& sequence, RequestUpdate& update) {
  int64_t accepted = 0;
  FinishReason reason = FinishReason::kNone;
  for (size_t i = 0; reason == FinishReason::kNone; ++i) {
    HeldDraw draw = i < draft.size() ? ReadDraw(result.rows(static_cast<int>(i)), sequence.request.top_logprobs)
                                     : ReadDraw(result, sequence.request.top_logprobs);
    Draw(sequence.sampler, draw);
    const int32_t id = draw.token.id;
    sequence.tokens.push_back(id);
    update.tokens.push_back(std::move(draw.token));
    if (!sequence.request.ignore_end && end_ids.contains(id)) reason = FinishReason::kEnd;
    if (i < draft.size() && id == draft[i]) ++accepted;
    const int64_t known = sequence.known();
    if (reason == FinishReason::kNone) LimitThoughts(sequence, update);
    if (sequence.known() > known || accepted <= static_cast<int64_t>(i)) break;
  }
  sequence.computed += accepted;
  sequence.drafter.Learn(static_cast<int64_t>(draft.size()), accepted);
  return reason;
}

void ReleaseHeld(int64_t keep, Sequence& sequence, RequestUpdate& update) {
  while (static_cast<int64_t>(sequence.held.size()) > keep) {
    update.tokens.push_back(std::move(sequence.held.front().token));
    sequence.held.pop_front();
  }
}

}  // namespace barn
