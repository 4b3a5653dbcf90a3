#include "coordinator/scheduler/batcher.h"

#include <algorithm>
#include <map>
#include <tuple>

namespace barn {
namespace {

// Keeps a result below the limit that ClusterEngine sets on gRPC messages, with a wide margin.
constexpr int64_t kResultBytesMax = 64 << 20;
constexpr int64_t kBytesPerCandidate = 10;  // A varint id and an f32, packed.
constexpr int64_t kBytesPerTarget = 32;

constexpr int64_t kPromptRowsMin = 32;
constexpr int64_t kChunksPerStage = 8;
constexpr int64_t kRowsRounding = 16;
constexpr double kFollowingStepGain = 0.1;  // What an early step saves, about, as a share of a step.

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

void WriteMask(const grammar::TokenMask& mask, proto::TokenMask& out) {
  if (mask.form() == grammar::TokenMask::Form::kBits) {
    out.set_bits(mask.bits());
    return;
  }
  out.set_named_are_forbidden(mask.form() == grammar::TokenMask::Form::kForbidden);
  int32_t last = -1;
  out.mutable_named_gaps()->Reserve(static_cast<int>(mask.named().size()));
  for (const int32_t id : mask.named()) {
    out.add_named_gaps(static_cast<uint32_t>(id - last));
    last = id;
  }
}

proto::Pooling WirePooling(Pooling pooling) {
  switch (pooling) {
    case Pooling::kFirst:
      return proto::POOLING_FIRST;
    case Pooling::kLast:
      return proto::POOLING_LAST;
    case Pooling::kMean:
      return proto::POOLING_SUM;
    case Pooling::kScore:
      return proto::POOLING_SCORE;
    case Pooling::kNone:
      break;
  }
  return proto::POOLING_NONE;
}

class StepBuilder {
 public:
  StepBuilder(const BatchLimits& limits, int64_t step_id, Sequences& sequences, proto::StepRequest& request)
      : limits_(limits), sequences_(sequences), request_(request) {
    step_.id = step_id;
  }

  BatchStep Build() {
    Survey();
    const int64_t reserved = prompts_.empty() ? 0 : limits_.step_tokens_max / 4;
    const int64_t share = CeilDiv(decoding_count_, limits_.stages);
    drafting_ = limits_.draft_cost != nullptr && prompts_.empty();
    if (drafting_) row_share_ = limits_.draft_cost->RowShare(share);
    const int64_t budget = std::max<int64_t>(1, limits_.step_tokens_max - reserved);
    Order(decoding_, share > budget);
    AddUpTo(decoding_, std::min(share, budget));
    step_.decoding_rows = rows_;
    Order(prompts_, true);
    const int64_t prompt_rows = PromptRows(prompt_pending_, limits_.stages, limits_.step_tokens_max);
    AddUpTo(prompts_, std::min({prompt_rows, RowsWithinStall(share), limits_.step_tokens_max - rows_}));
    step_.prompt_rows = rows_ - step_.decoding_rows;
    return Finished();
  }

  BatchStep BuildAfter(const BatchStep& before) {
    if (!MayFollow(before)) return std::move(step_);
    const std::vector<Sequence*> going = GoingOn(before);
    int64_t blocks = 0;
    for (const Sequence* sequence : going) {
      const auto held = static_cast<int64_t>(sequence->blocks.size());
      blocks += std::max<int64_t>(0, sequences_.blocks().BlocksFor(sequence->scheduled + 1) - held);
    }
    // Blocks are had by preemption only when nothing is in flight.
    if (!sequences_.blocks().CanTake(blocks)) return std::move(step_);
    for (Sequence* sequence : going) {
      const StepSlice next{.sequence_id = sequence->id,
                           .first_position = sequence->scheduled,
                           .rows = 1,
                           .candidates = 1,
                           .takes_best = true};
      sequences_.Reserve(*sequence, next.first_position + 1);
      Write(next, *sequence);
      step_.slices.push_back(next);
    }
    step_.decoding_rows = static_cast<int64_t>(going.size());
    return Finished();
  }

 private:
  BatchStep Finished() {
    for (const StepSlice& slice : step_.slices) sequences_.Publish(*sequences_.FindRunning(slice.sequence_id));
    if (!step_.slices.empty()) {
      request_.set_step_id(step_.id);
      for (int64_t id : sequences_.TakeReleased()) request_.add_released_sequences(id);
    }
    return std::move(step_);
  }

  bool MayFollow(const BatchStep& before) const {
    // What a mask will allow after this token is not known before it, nor whether the thoughts end with it.
    const auto certain = [&](const StepSlice& slice) {
      const Sequence& sequence = *sequences_.FindRunning(slice.sequence_id);
      return sequence.finished ||
             (slice.candidates == 1 && !slice.full_logits && slice.mask == nullptr && slice.draft.empty() &&
              !sequence.sampler.LooksBack() && !(sequence.thoughts && sequence.thoughts->near()));
    };
    const auto idle = [](const auto& entry) { return entry.second.finished || entry.second.pending() <= 0; };
    return std::all_of(before.slices.begin(), before.slices.end(), certain) &&
           std::all_of(sequences_.running().begin(), sequences_.running().end(), idle) &&
           GuessedTokens(before) <= kFollowingStepGain * static_cast<double>(before.slices.size());
  }

  // What guesses would bring to the step behind `before`, in tokens beyond their price. They need the tokens that are
  // in flight, so a step with guesses cannot follow early.
  double GuessedTokens(const BatchStep& before) const {
    if (limits_.draft_cost == nullptr) return 0;
    const double row_share = limits_.draft_cost->RowShare(before.decoding_rows);
    if (row_share >= 1) return 0;
    double tokens = 0;
    for (const StepSlice& slice : before.slices) {
      Sequence& sequence = *sequences_.FindRunning(slice.sequence_id);
      if (sequence.finished || !sequence.may_draft()) continue;
      const std::vector<int32_t> draft = sequence.drafter.Draft(sequence.tokens, kDraftTokensMax, row_share);
      tokens += sequence.drafter.Gain(std::ssize(draft), row_share);
    }
    return tokens;
  }

  std::vector<Sequence*> GoingOn(const BatchStep& before) const {
    std::vector<Sequence*> going;
    for (const StepSlice& slice : before.slices) {
      Sequence& sequence = *sequences_.FindRunning(slice.sequence_id);
      if (!sequence.finished && sequence.generated() + 1 < sequence.request.max_tokens) going.push_back(&sequence);
    }
    return going;
  }

  // Prompt rows beside `share` decoding ones. A prompt makes a step longer by 40 %, where that is less than the bound:
  // it waits a little for many streams then, instead of many streams for it. An eighth of the bound it gets in any
  // case.
  int64_t RowsWithinStall(int64_t share) const {
    if (decoding_count_ == 0 || limits_.times == nullptr) return limits_.step_tokens_max;
    if (step_.decoding_rows > 0 && limits_.times->WantsPlainStep()) return 0;
    constexpr double kLonger = 0.4, kLeast = 0.125;
    const absl::Duration step = limits_.times->Decoding(share) * limits_.stages;
    const absl::Duration budget = std::clamp(step * kLonger, limits_.stall_max * kLeast, limits_.stall_max);
    return limits_.times->PromptRows(budget / limits_.stages);  // Each step in flight has a chunk.
  }

  void Survey() {
    for (auto& [id, sequence] : sequences_.running()) {
      if (sequence.finished) continue;
      if (sequence.decoding()) {
        ++decoding_count_;
        if (sequence.pending() > 0) decoding_.push_back(&sequence);
      } else {
        sequences_.SkipFound(sequence);
        prompts_.push_back(&sequence);
      }
    }
    if (prompts_.size() > 1) HoldFollowers();
    for (const Sequence* prompt : prompts_) prompt_pending_ += prompt->pending();
  }

  // Of those whose next block will be the same one computes it.
  void HoldFollowers() {
    std::map<KvBlocks::Content, const Sequence*, KvBlocks::ContentLess> leaders;
    for (const Sequence* prompt : prompts_) {
      const KvBlocks::Content content = sequences_.NextContent(*prompt);
      if (content.tokens.empty()) continue;
      const Sequence*& leader = leaders.try_emplace(content, prompt).first->second;
      if (prompt->GoesBefore(*leader)) leader = prompt;
    }
    std::erase_if(prompts_, [&](const Sequence* prompt) {
      const auto leader = leaders.find(sequences_.NextContent(*prompt));
      return leader != leaders.end() && leader->second != prompt;
    });
  }

  void Order(std::vector<Sequence*>& group, bool by_tenant) const {
    if (group.size() < 2) return;
    std::vector<std::tuple<int, double, int64_t, Sequence*>> ranks;
    ranks.reserve(group.size());
    for (Sequence* sequence : group) {
      ranks.emplace_back(-sequence->request.tenant.priority, by_tenant ? sequences_.Clock(*sequence) : 0,
                         sequence->last_step, sequence);
    }
    std::stable_sort(ranks.begin(), ranks.end(), [](const auto& a, const auto& b) {
      return std::tie(std::get<0>(a), std::get<1>(a), std::get<2>(a)) <
             std::tie(std::get<0>(b), std::get<1>(b), std::get<2>(b));
    });
    for (size_t i = 0; i < group.size(); ++i) group[i] = std::get<3>(ranks[i]);
  }

  void AddUpTo(const std::vector<Sequence*>& group, int64_t rows_max) {
    for (Sequence* sequence : group) {
      if (rows_max <= 0) return;
      if (!sequence->running) continue;  // Preempted for one before.
      if (sequences_.whole() && sequence->pending() > rows_max) {
        // The first may be longer than a chunk of a pipeline, so that each gets its turn.
        if (!step_.slices.empty() || sequence->pending() > limits_.step_tokens_max) continue;
        rows_max = sequence->pending();
      }
      StepSlice slice = MakeSlice(*sequence, std::min(rows_max, sequence->pending()));
      const int64_t bytes_left = kResultBytesMax - result_bytes_;
      if (ResultBytes(slice) > bytes_left) {
        // A prompt that is scored can be cut shorter; the rest asks for its last row and fits or does not.
        const int64_t rows = slice.targets > 0 ? slice.rows - slice.targets + bytes_left / TargetBytes(slice) : 0;
        if (rows < 1 && !step_.slices.empty()) return;
        slice = MakeSlice(*sequence, std::clamp<int64_t>(rows, 1, slice.rows));
      }
      if (!sequences_.Reserve(*sequence, slice.first_position + slice.rows)) continue;
      // Guesses take what the others leave; they cost nobody a place.
      rows_max -= slice.rows;
      if (drafting_ && slice.rows == 1 && slice.candidates > 0) AddDraft(*sequence, slice);
      result_bytes_ += ResultBytes(slice);
      rows_ += slice.rows;
      Write(slice, *sequence);
      step_.slices.push_back(slice);
    }
  }

  StepSlice MakeSlice(const Sequence& sequence, int64_t rows) const {
    const GenerateRequest& asked = sequence.request;
    StepSlice slice{.sequence_id = sequence.id, .first_position = sequence.scheduled, .rows = rows};
    const int64_t end = sequence.scheduled + rows;
    if (end == static_cast<int64_t>(sequence.tokens.size()) && sequence.generated() < asked.max_tokens) {
      slice.candidates = std::clamp<int64_t>(std::max<int64_t>(sequence.sampler.CandidatesWanted(), asked.top_logprobs),
                                             1, sequence.mask ? sequence.mask->allowed() : limits_.vocabulary);
      slice.deviation = sequence.sampler.WantsDeviation();
      slice.mask = sequence.mask;
      slice.full_logits = asked.full_logits;
    }
    slice.pooling = PoolingOf(sequence, end);
    if (slice.pooling != Pooling::kNone) {
      slice.embedding_floats = slice.pooling == Pooling::kScore ? 1 : limits_.embedding_floats;
    }
    // The token at index i is scored by the row at position i - 1. The last row of the prompt predicts no known token;
    // it gets itself as a target so that targets belong to the last rows, and its score is dropped. What the caller has
    // is not scored again.
    const int64_t first_scored_row = sequence.next_score - 1;
    if (asked.score_from >= 0 && sequence.next_score < sequence.prompt_tokens &&
        sequence.scheduled < sequence.prompt_tokens && first_scored_row < end) {
      slice.targets = end - std::max(first_scored_row, sequence.scheduled);
      slice.target_candidates = asked.score_top_logprobs;
    }
    return slice;
  }

  // What rows up to `end` give of the sequence's embedding.
  static Pooling PoolingOf(const Sequence& sequence, int64_t end) {
    switch (sequence.request.pooling) {
      case Pooling::kFirst:
      case Pooling::kScore:
        return sequence.scheduled == 0 ? sequence.request.pooling : Pooling::kNone;
      case Pooling::kLast:
        return end == sequence.prompt_tokens ? Pooling::kLast : Pooling::kNone;
      default:
        return sequence.request.pooling;
    }
  }

  void AddDraft(Sequence& sequence, StepSlice& slice) {
    if (!sequence.may_draft()) return;
    // Every sequence that decodes still gets its row, none gets more tokens than were asked for, and nobody has to go
    // for a guess.
    const int64_t bytes = slice.candidates * kBytesPerCandidate + kBytesPerTarget;
    const int64_t most =
        std::min({limits_.step_tokens_max - rows_ - decoding_count_, sequence.positions_max() - sequence.known(),
                  (kResultBytesMax / 2 - result_bytes_) / bytes, sequences_.RoomBehind(sequence)});
    slice.draft = sequence.drafter.Draft(sequence.tokens, most, row_share_);
    slice.rows += static_cast<int64_t>(slice.draft.size());
    sequences_.Reserve(sequence, slice.first_position + slice.rows);
  }

  int64_t TargetBytes(const StepSlice& slice) const {
    return kBytesPerTarget + slice.target_candidates * kBytesPerCandidate;
  }

  int64_t ResultBytes(const StepSlice& slice) const {
    const auto guesses = static_cast<int64_t>(slice.draft.size());
    return (1 + guesses) * slice.candidates * kBytesPerCandidate + guesses * kBytesPerTarget +
           (slice.full_logits ? 4 * limits_.vocabulary : 0) + 4 * slice.embedding_floats +
           slice.targets * TargetBytes(slice);
  }

  void Write(const StepSlice& slice, Sequence& sequence) {
    proto::StepSequence& out = *request_.add_sequences();
    const int64_t end = slice.first_position + slice.rows;
    out.set_sequence_id(slice.sequence_id);
    out.set_first_position(slice.first_position);
    out.set_rows(static_cast<int32_t>(slice.rows));
    out.set_takes_best(slice.takes_best);
    const int64_t known_end = end - static_cast<int64_t>(slice.draft.size());
    for (int64_t i = slice.first_position; i < known_end && !slice.takes_best; ++i) out.add_tokens(sequence.tokens[i]);
    for (const int32_t guess : slice.draft) out.add_tokens(guess);
    const int64_t blocks = std::max(sequence.blocks_sent, sequences_.blocks().BlocksFor(end));
    out.set_block_offset(static_cast<int32_t>(sequence.blocks_sent));
    for (int64_t i = sequence.blocks_sent; i < blocks; ++i) out.add_new_blocks(sequence.blocks[i]);
    if (slice.candidates > 0) {
      out.set_want_candidates(true);
      out.set_candidates(static_cast<int32_t>(slice.candidates));
      out.set_more_candidate_rows(static_cast<int32_t>(slice.draft.size()));
      out.set_want_deviation(slice.deviation);
      out.set_want_full_logits(slice.full_logits);
      for (const LogitEdit& edit : sequence.sampler.Edits(sequence.tokens, sequence.prompt_tokens)) {
        proto::LogitEdit& wire = *out.add_edits();
        wire.set_id(edit.id);
        wire.set_add(edit.add);
        wire.set_repetition(edit.repetition);
      }
    }
    out.set_pooling(WirePooling(slice.pooling));
    if (slice.mask != nullptr) WriteMask(*slice.mask, *out.mutable_mask());
    for (const AdapterUse& use : sequence.request.adapters) {
      proto::AdapterUse& wire = *out.add_adapters();
      wire.set_adapter_id(use.id);
      wire.set_scale(use.scale);
    }
    const int64_t last = static_cast<int64_t>(sequence.tokens.size()) - 1;
    for (int64_t i = end - slice.targets; i < end; ++i) out.add_targets(sequence.tokens[std::min(i + 1, last)]);
    out.set_target_candidates(static_cast<int32_t>(slice.target_candidates));
    sequences_.Advance(sequence, known_end);
    sequence.blocks_sent = blocks;
    sequence.last_step = step_.id;
    ++sequence.steps_in_flight;
  }

  const BatchLimits& limits_;
  Sequences& sequences_;
  proto::StepRequest& request_;
  std::vector<Sequence*> decoding_;  // With a token to compute.
  std::vector<Sequence*> prompts_;
  int64_t decoding_count_ = 0;  // Also those whose token is in flight.
  int64_t prompt_pending_ = 0;
  int64_t rows_ = 0;
  int64_t result_bytes_ = 0;
  bool drafting_ = false;
  double row_share_ = 1;
  BatchStep step_;
};

}  // namespace

int64_t PromptRows(int64_t pending, int stages, int64_t step_tokens_max) {
  if (stages == 1) return step_tokens_max;
  const int64_t rows = CeilDiv(CeilDiv(pending, kChunksPerStage * stages), kRowsRounding) * kRowsRounding;
  return std::min(std::max(rows, kPromptRowsMin), step_tokens_max);
}

BatchStep BuildStep(const BatchLimits& limits, int64_t step_id, Sequences& sequences, proto::StepRequest& request) {
  return StepBuilder(limits, step_id, sequences, request).Build();
}

BatchStep BuildFollowingStep(const BatchLimits& limits, int64_t step_id, const BatchStep& before, Sequences& sequences,
                             proto::StepRequest& request) {
  return StepBuilder(limits, step_id, sequences, request).BuildAfter(before);
}

}  // namespace barn
