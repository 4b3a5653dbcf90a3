#include "worker/service/step_plan.h"

#include <cmath>
#include <set>
#include <utility>

#include "absl/strings/str_format.h"
#include "proto/base/status.h"

namespace barn {
namespace {

// Of one step result: a coordinator that asks for more gets an error instead of a worker without memory.
constexpr int64_t kResultBytesMax = int64_t{128} << 20;
constexpr int64_t kCandidateBytes = 16;

absl::Status CheckRows(const proto::StepSequence& sequence, const StepLimits& limits, const BestCandidates& best) {
  const int64_t id = sequence.sequence_id();
  if (sequence.takes_best()) {
    if (sequence.rows() != 1 || sequence.tokens_size() != 0 || !best.contains(id)) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "sequence %d takes the best candidate of the step before: %d rows with %d tokens, %s", id, sequence.rows(),
          sequence.tokens_size(), best.contains(id) ? "want 1 and 0" : "there is none"));
    }
  } else if (sequence.rows() < 1 || sequence.rows() != sequence.tokens_size()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("sequence %d: %d rows with %d tokens", id, sequence.rows(), sequence.tokens_size()));
  }
  if (limits.encoder && sequence.first_position() != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "sequence %d of an encoder goes on at position %d, it must come whole", id, sequence.first_position()));
  }
  if (sequence.first_position() < 0 || sequence.first_position() > limits.context_tokens - sequence.rows()) {
    return absl::InvalidArgumentError(absl::StrFormat("sequence %d: positions %d+%d, the context has %d", id,
                                                      sequence.first_position(), sequence.rows(),
                                                      limits.context_tokens));
  }
  for (const int32_t token : sequence.tokens()) {
    if (token < 0 || token >= limits.vocabulary) {
      return absl::InvalidArgumentError(
          absl::StrFormat("sequence %d: token %d, the vocabulary has %d", id, token, limits.vocabulary));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckPooling(const proto::StepSequence& sequence, const StepLimits& limits, int64_t* result_bytes) {
  const int64_t id = sequence.sequence_id();
  const bool pooled = sequence.pooling() != proto::POOLING_NONE;
  if (!proto::Pooling_IsValid(sequence.pooling()) ||
      (sequence.pooling() == proto::POOLING_SCORE && !limits.has_scores)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("sequence %d: the model has no pooling %d", id, sequence.pooling()));
  }
  const bool wants_logits = sequence.want_candidates() || sequence.want_full_logits() || sequence.targets_size() > 0;
  if (wants_logits && (pooled || limits.encoder)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("sequence %d: logits %s", id, pooled ? "and an embedding" : "of an encoder"));
  }
  *result_bytes += pooled ? limits.width * static_cast<int64_t>(sizeof(float)) : 0;
  return absl::OkStatus();
}

// Checks what the last stage is asked to return and adds its size to *result_bytes.
absl::Status CheckWishes(const proto::StepSequence& sequence, const StepLimits& limits, int64_t* result_bytes) {
  const int64_t id = sequence.sequence_id();
  if (sequence.candidates() < 0 || sequence.candidates() > limits.vocabulary || sequence.target_candidates() < 0 ||
      sequence.target_candidates() > limits.vocabulary) {
    return absl::InvalidArgumentError(
        absl::StrFormat("sequence %d: %d candidates and %d beside targets, the vocabulary has %d", id,
                        sequence.candidates(), sequence.target_candidates(), limits.vocabulary));
  }
  if (sequence.targets_size() > sequence.rows()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("sequence %d: %d targets for %d rows", id, sequence.targets_size(), sequence.rows()));
  }
  for (const int32_t target : sequence.targets()) {
    if (target < 0 || target >= limits.vocabulary) {
      return absl::InvalidArgumentError(
          absl::StrFormat("sequence %d: target %d, the vocabulary has %d", id, target, limits.vocabulary));
    }
  }
  if (sequence.more_candidate_rows() < 0 || sequence.more_candidate_rows() >= sequence.rows()) {
    return absl::InvalidArgumentError(absl::StrFormat("sequence %d: candidates of %d rows before the last, of %d rows",
                                                      id, sequence.more_candidate_rows(), sequence.rows()));
  }
  BARN_RETURN_IF_ERROR(CheckPooling(sequence, limits, result_bytes));
  const int64_t candidate_rows = sequence.want_candidates() ? 1 + int64_t{sequence.more_candidate_rows()} : 0;
  *result_bytes += candidate_rows * (sequence.candidates() + int64_t{2}) * kCandidateBytes;
  *result_bytes += sequence.want_full_logits() ? limits.vocabulary * static_cast<int64_t>(sizeof(float)) : 0;
  *result_bytes += sequence.targets_size() * (sequence.target_candidates() + int64_t{4}) * kCandidateBytes;
  if (*result_bytes > kResultBytesMax) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("sequence %d: the step asks for more than %d bytes", id, kResultBytesMax));
  }
  return absl::OkStatus();
}

// Whether they are loaded, and none twice, is the slice's to say.
absl::StatusOr<std::vector<AdapterScale>> ReadAdapters(const proto::StepSequence& sequence) {
  constexpr int kAdaptersMax = 64;
  if (sequence.adapters_size() > kAdaptersMax) {
    return absl::InvalidArgumentError(absl::StrFormat("sequence %d: %d adapters, at most %d", sequence.sequence_id(),
                                                      sequence.adapters_size(), kAdaptersMax));
  }
  std::vector<AdapterScale> adapters;
  for (const proto::AdapterUse& use : sequence.adapters()) {
    if (!std::isfinite(use.scale())) {
      return absl::InvalidArgumentError(absl::StrFormat("sequence %d: the scale of adapter %d is no number",
                                                        sequence.sequence_id(), use.adapter_id()));
    }
    adapters.push_back({.id = use.adapter_id(), .scale = use.scale()});
  }
  return adapters;
}

absl::StatusOr<std::vector<LogitChange>> ReadChanges(const proto::StepSequence& sequence, int64_t vocabulary) {
  std::vector<LogitChange> changes;
  changes.reserve(sequence.edits_size());
  for (const proto::LogitEdit& edit : sequence.edits()) {
    changes.push_back(
        {.id = edit.id(), .add = edit.add(), .repetition = edit.repetition() == 0 ? 1 : edit.repetition()});
  }
  BARN_RETURN_IF_ERROR(CheckChanges(changes, vocabulary));
  return changes;
}

std::span<const int32_t> SpanOf(const google::protobuf::RepeatedField<int32_t>& field) {
  return {field.data(), static_cast<size_t>(field.size())};
}

void AddLogitRows(const proto::StepSequence& sequence, int index, int64_t first_row, std::vector<LogitRow>& rows) {
  const bool wants_last = sequence.want_candidates() || sequence.want_full_logits();
  for (int row = 0; row < sequence.rows(); ++row) {
    const int target = row - (sequence.rows() - sequence.targets_size());
    const bool last = wants_last && row == sequence.rows() - 1;
    const int before_last = sequence.rows() - 1 - row;
    const bool more = sequence.want_candidates() && before_last >= 1 && before_last <= sequence.more_candidate_rows();
    if (target >= 0 || last || more) {
      rows.push_back({.row = static_cast<int32_t>(first_row + row),
                      .sequence = index,
                      .target = target >= 0 ? target : -1,
                      .last = last,
                      .more = more});
    }
  }
}

void AddPooled(const proto::StepSequence& sequence, int index, int64_t first_row, StepPlan& plan) {
  const proto::Pooling pooling = sequence.pooling();
  if (pooling == proto::POOLING_NONE) return;
  const bool score = pooling == proto::POOLING_SCORE;
  std::vector<int32_t>& rows = score ? plan.score_rows : plan.hidden_rows;
  PooledRows& pooled = plan.pooled.emplace_back();
  pooled = {.sequence = index, .first = static_cast<int64_t>(rows.size()), .count = 1, .score = score};
  if (pooling == proto::POOLING_SUM) pooled.count = sequence.rows();
  const int64_t first = pooling == proto::POOLING_LAST ? sequence.rows() - 1 : 0;
  for (int64_t row = 0; row < pooled.count; ++row) rows.push_back(static_cast<int32_t>(first_row + first + row));
}

}  // namespace

absl::StatusOr<StepPlan> PlanStep(const proto::StepRequest& request, const StepLimits& limits,
                                  const BestCandidates& best, BlockTables& tables) {
  StepPlan plan;
  std::set<int64_t> seen;
  int64_t result_bytes = 0;
  for (const proto::StepSequence& sequence : request.sequences()) {
    BARN_RETURN_IF_ERROR(CheckRows(sequence, limits, best));
    if (!seen.insert(sequence.sequence_id()).second) {
      return absl::InvalidArgumentError(absl::StrFormat("sequence %d is twice in a step", sequence.sequence_id()));
    }
    plan.changes.emplace_back();
    plan.masks.emplace_back();
    BARN_ASSIGN_OR_RETURN(plan.adapters.emplace_back(), ReadAdapters(sequence));
    if (limits.is_last) {
      BARN_RETURN_IF_ERROR(CheckWishes(sequence, limits, &result_bytes));
      BARN_ASSIGN_OR_RETURN(plan.changes.back(), ReadChanges(sequence, limits.vocabulary));
      if (sequence.has_mask()) {
        BARN_ASSIGN_OR_RETURN(plan.masks.back(), ReadMask(sequence.mask(), limits.vocabulary));
        if (sequence.candidates() > plan.masks.back().allowed) {
          return absl::InvalidArgumentError(absl::StrFormat("sequence %d: %d candidates of %d allowed ids",
                                                            sequence.sequence_id(), sequence.candidates(),
                                                            plan.masks.back().allowed));
        }
      }
      AddLogitRows(sequence, static_cast<int>(seen.size()) - 1, plan.rows, plan.logit_rows);
      AddPooled(sequence, static_cast<int>(seen.size()) - 1, plan.rows, plan);
    }
    plan.rows += sequence.rows();
    if (plan.rows > limits.step_tokens_max) {
      return absl::InvalidArgumentError(
          absl::StrFormat("a step of %d rows or more, the plan has at most %d", plan.rows, limits.step_tokens_max));
    }
  }
  for (const int64_t id : request.released_sequences()) {
    tables.Release(id);
  }
  for (const proto::StepSequence& sequence : request.sequences()) {
    BARN_ASSIGN_OR_RETURN(const std::span<const int32_t> blocks,
                          tables.Update(sequence.sequence_id(), sequence.block_offset(), SpanOf(sequence.new_blocks()),
                                        sequence.first_position() + sequence.rows()));
    const std::span<const int32_t> tokens =
        sequence.takes_best() ? std::span(&best.at(sequence.sequence_id()), 1) : SpanOf(sequence.tokens());
    plan.sequences.push_back({.first_position = sequence.first_position(),
                              .tokens = tokens,
                              .blocks = blocks,
                              .adapters = plan.adapters[plan.sequences.size()]});
  }
  return plan;
}

}  // namespace barn
