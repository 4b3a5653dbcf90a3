#include "coordinator/scheduler/batcher.h"

#include <algorithm>

namespace barn {
namespace {

// Keeps a result below the limit that ClusterEngine sets on gRPC messages, with a wide margin.
constexpr int64_t kResultBytesMax = 64 << 20;
constexpr int64_t kBytesPerCandidate = 10;  // A varint id and an f32, packed.
constexpr int64_t kBytesPerTarget = 32;

constexpr int64_t kPromptRowsMin = 32;
constexpr int64_t kChunksPerStage = 8;
constexpr int64_t kRowsRounding = 16;

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

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
    AddUpTo(decoding_, std::min(share, std::max<int64_t>(1, limits_.step_tokens_max - reserved)));
    AddUpTo(prompts_, std::min(PromptRows(prompt_pending_, limits_.stages, limits_.step_tokens_max),
                               limits_.step_tokens_max - rows_));
    return Finished();
  }

  BatchStep BuildAfter(const BatchStep& before) {
    if (!MayFollow(before)) return std::move(step_);
    for (const StepSlice& slice : before.slices) {
      Sequence& sequence = *sequences_.FindRunning(slice.sequence_id);
      if (sequence.finished || sequence.generated() + 1 >= sequence.request.max_tokens) continue;
      const StepSlice next{.sequence_id = sequence.id,
                           .first_position = sequence.scheduled,
                           .rows = 1,
                           .candidates = 1,
                           .takes_best = true};
      Write(next, sequence);
      step_.slices.push_back(next);
    }
    return Finished();
  }

 private:
  BatchStep Finished() {
    if (!step_.slices.empty()) {
      request_.set_step_id(step_.id);
      for (int64_t id : sequences_.TakeReleased()) request_.add_released_sequences(id);
    }
    return std::move(step_);
  }

  bool MayFollow(const BatchStep& before) const {
    const auto certain = [&](const StepSlice& slice) {
      const Sequence& sequence = *sequences_.FindRunning(slice.sequence_id);
      return sequence.finished || (slice.candidates == 1 && !slice.full_logits && !sequence.sampler.LooksBack());
    };
    const auto idle = [](const auto& entry) { return entry.second.finished || entry.second.pending() <= 0; };
    return std::all_of(before.slices.begin(), before.slices.end(), certain) &&
           std::all_of(sequences_.running().begin(), sequences_.running().end(), idle);
  }

  void Survey() {
    for (auto& [id, sequence] : sequences_.running()) {
      if (sequence.finished) continue;
      if (sequence.decoding()) {
        ++decoding_count_;
        if (sequence.pending() > 0) decoding_.push_back(&sequence);
      } else {
        prompt_pending_ += sequence.pending();
        prompts_.push_back(&sequence);
      }
    }
    const auto least_recent = [](const Sequence* a, const Sequence* b) { return a->last_step < b->last_step; };
    std::stable_sort(decoding_.begin(), decoding_.end(), least_recent);
    std::stable_sort(prompts_.begin(), prompts_.end(), least_recent);
  }

  void AddUpTo(const std::vector<Sequence*>& group, int64_t rows_max) {
    for (Sequence* sequence : group) {
      if (rows_max <= 0) return;
      StepSlice slice = MakeSlice(*sequence, std::min(rows_max, sequence->pending()));
      const int64_t bytes_left = kResultBytesMax - result_bytes_;
      if (ResultBytes(slice) > bytes_left) {
        // A prompt that is scored can be cut shorter; the rest asks for its last row and fits or does not.
        const int64_t rows = slice.targets > 0 ? slice.rows - slice.targets + bytes_left / TargetBytes(slice) : 0;
        if (rows < 1 && !step_.slices.empty()) return;
        slice = MakeSlice(*sequence, std::clamp<int64_t>(rows, 1, slice.rows));
      }
      result_bytes_ += ResultBytes(slice);
      rows_max -= slice.rows;
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
                                             1, limits_.vocabulary);
      slice.full_logits = asked.full_logits;
    }
    // The token at index i is scored by the row at position i - 1. The last row of the prompt predicts no known token;
    // it gets itself as a target so that targets belong to the last rows, and its score is dropped.
    const int64_t first_scored_row = std::max<int64_t>(1, asked.score_from) - 1;
    if (asked.score_from >= 0 && sequence.scheduled < sequence.prompt_tokens && first_scored_row < end) {
      slice.targets = end - std::max(first_scored_row, sequence.scheduled);
      slice.target_candidates = asked.score_top_logprobs;
    }
    return slice;
  }

  int64_t TargetBytes(const StepSlice& slice) const {
    return kBytesPerTarget + slice.target_candidates * kBytesPerCandidate;
  }

  int64_t ResultBytes(const StepSlice& slice) const {
    return slice.candidates * kBytesPerCandidate + (slice.full_logits ? 4 * limits_.vocabulary : 0) +
           slice.targets * TargetBytes(slice);
  }

  void Write(const StepSlice& slice, Sequence& sequence) {
    proto::StepSequence& out = *request_.add_sequences();
    const int64_t end = slice.first_position + slice.rows;
    out.set_sequence_id(slice.sequence_id);
    out.set_first_position(slice.first_position);
    out.set_rows(static_cast<int32_t>(slice.rows));
    out.set_takes_best(slice.takes_best);
    for (int64_t i = slice.first_position; i < end && !slice.takes_best; ++i) out.add_tokens(sequence.tokens[i]);
    const int64_t blocks = sequences_.blocks().BlocksFor(end);
    out.set_block_offset(static_cast<int32_t>(sequence.blocks_sent));
    for (int64_t i = sequence.blocks_sent; i < blocks; ++i) out.add_new_blocks(sequence.blocks[i]);
    if (slice.candidates > 0) {
      out.set_want_candidates(true);
      out.set_candidates(static_cast<int32_t>(slice.candidates));
      out.set_want_full_logits(slice.full_logits);
      for (const LogitEdit& edit : sequence.sampler.Edits(sequence.tokens, sequence.prompt_tokens)) {
        proto::LogitEdit& wire = *out.add_edits();
        wire.set_id(edit.id);
        wire.set_add(edit.add);
        wire.set_repetition(edit.repetition);
      }
    }
    const int64_t last = static_cast<int64_t>(sequence.tokens.size()) - 1;
    for (int64_t i = end - slice.targets; i < end; ++i) out.add_targets(sequence.tokens[std::min(i + 1, last)]);
    out.set_target_candidates(static_cast<int32_t>(slice.target_candidates));
    sequence.scheduled = end;
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
