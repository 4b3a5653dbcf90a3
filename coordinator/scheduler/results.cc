#include "coordinator/scheduler/results.h"

#include <cmath>
#include <cstring>
#include <map>

#include "absl/strings/str_format.h"
#include "coordinator/scheduler/draws.h"
#include "proto/base/status.h"

namespace barn {
namespace {

using Ids = google::protobuf::RepeatedField<int32_t>;
using Logits = google::protobuf::RepeatedField<float>;

// -inf is a logit (a forbidden token), +inf and NaN are not.
bool IsLogit(float value) { return !std::isnan(value) && value != INFINITY; }

absl::Status CheckCandidates(const char* what, const Ids& ids, const Logits& logits, int64_t wanted,
                             int64_t vocabulary) {
  if (ids.size() != wanted || logits.size() != wanted) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%d ids and %d logits of %s, %d were asked for", ids.size(), logits.size(), what, wanted));
  }
  for (int i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocabulary) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s: id %d is outside the vocabulary of %d", what, ids[i], vocabulary));
    }
    if (!IsLogit(logits[i])) return absl::InvalidArgumentError(absl::StrFormat("%s: logit %f", what, logits[i]));
    if (i > 0 && logits[i] > logits[i - 1]) {
      return absl::InvalidArgumentError(absl::StrFormat("%s: candidate %d is better than the one before", what, i));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckLogsumexp(const char* what, double value) {
  if (std::isfinite(value)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat("%s: logsumexp is %f", what, value));
}

absl::Status CheckDeviation(double value) {
  if (value >= 0 && std::isfinite(value)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat("the logits' deviation is %f", value));
}

absl::Status CheckFullLogits(const std::string& bytes, int64_t wanted) {
  if (static_cast<int64_t>(bytes.size()) != wanted * 4) {
    return absl::InvalidArgumentError(
        absl::StrFormat("full logits of %d bytes, %d were asked for", bytes.size(), wanted * 4));
  }
  for (int64_t i = 0; i < wanted; ++i) {
    float value;
    std::memcpy(&value, bytes.data() + i * 4, 4);
    if (!IsLogit(value)) return absl::InvalidArgumentError(absl::StrFormat("full logits: entry %d is %f", i, value));
  }
  return absl::OkStatus();
}

absl::Status CheckEmbedding(const std::string& bytes, int64_t wanted) {
  if (static_cast<int64_t>(bytes.size()) != wanted * 4) {
    return absl::InvalidArgumentError(
        absl::StrFormat("an embedding of %d bytes, %d were asked for", bytes.size(), wanted * 4));
  }
  for (int64_t i = 0; i < wanted; ++i) {
    float value;
    std::memcpy(&value, bytes.data() + i * 4, 4);
    if (!std::isfinite(value))
      return absl::InvalidArgumentError(absl::StrFormat("embedding: entry %d is %f", i, value));
  }
  return absl::OkStatus();
}

absl::Status CheckSlice(const StepSlice& slice, const proto::SequenceResult& result, int64_t vocabulary) {
  BARN_RETURN_IF_ERROR(
      CheckCandidates("candidates", result.candidate_ids(), result.candidate_logits(), slice.candidates, vocabulary));
  if (slice.candidates > 0) BARN_RETURN_IF_ERROR(CheckLogsumexp("candidates", result.logsumexp()));
  BARN_RETURN_IF_ERROR(CheckDeviation(result.logit_deviation()));
  if (result.rows_size() != static_cast<int64_t>(slice.draft.size())) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%d rows before the last, %d were asked for", result.rows_size(), slice.draft.size()));
  }
  for (const proto::RowResult& row : result.rows()) {
    BARN_RETURN_IF_ERROR(CheckCandidates("a row before the last", row.candidate_ids(), row.candidate_logits(),
                                         slice.candidates, vocabulary));
    BARN_RETURN_IF_ERROR(CheckLogsumexp("a row before the last", row.logsumexp()));
    BARN_RETURN_IF_ERROR(CheckDeviation(row.logit_deviation()));
  }
  for (const int32_t id : result.candidate_ids()) {
    if (slice.mask == nullptr || slice.mask->Allows(id)) continue;
    return absl::InvalidArgumentError(absl::StrFormat("candidates: the mask forbids id %d", id));
  }
  BARN_RETURN_IF_ERROR(CheckFullLogits(result.full_logits(), slice.full_logits ? vocabulary : 0));
  BARN_RETURN_IF_ERROR(CheckEmbedding(result.embedding(), slice.embedding_floats));
  if (result.scores_size() != slice.targets) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%d target scores, %d were asked for", result.scores_size(), slice.targets));
  }
  for (const proto::TargetScore& score : result.scores()) {
    if (!IsLogit(score.logit())) return absl::InvalidArgumentError(absl::StrFormat("target: logit %f", score.logit()));
    BARN_RETURN_IF_ERROR(CheckLogsumexp("target", score.logsumexp()));
    BARN_RETURN_IF_ERROR(CheckCandidates("target", score.candidate_ids(), score.candidate_logits(),
                                         slice.target_candidates, vocabulary));
  }
  return absl::OkStatus();
}

void AddScores(const StepSlice& slice, const proto::SequenceResult& result, Sequence& sequence, RequestUpdate& update) {
  const int64_t first_row = slice.first_position + slice.rows - slice.targets;
  for (int64_t i = 0; i < slice.targets; ++i) {
    const int64_t index = first_row + i + 1;
    if (index >= sequence.prompt_tokens) return;
    const proto::TargetScore& score = result.scores(static_cast<int>(i));
    update.prompt_scores.push_back({.index = index,
                                    .id = sequence.tokens[index],
                                    .logprob = LogProbability(score.logit(), score.logsumexp()),
                                    .best = score.best(),
                                    .top = TopLogprobs(score.candidate_ids(), score.candidate_logits(),
                                                       score.logsumexp(), sequence.request.score_top_logprobs)});
    sequence.next_score = index + 1;
  }
}

// Sums of a mean are of the rows of each step, from position 0 on; of other poolings the one step that has them counts.
void AddPooled(const StepSlice& slice, const std::string& embedding, Sequence& sequence) {
  if (slice.first_position == 0 || slice.pooling != Pooling::kMean) sequence.pooled.clear();
  sequence.pooled.resize(embedding.size() / 4, 0);
  for (size_t i = 0; i < sequence.pooled.size(); ++i) {
    float value;
    std::memcpy(&value, embedding.data() + i * 4, 4);
    sequence.pooled[i] += value;
  }
}

void TakeEmbedding(Sequence& sequence, RequestUpdate& update) {
  const double rows = sequence.request.pooling == Pooling::kMean ? static_cast<double>(sequence.prompt_tokens) : 1;
  for (const double value : sequence.pooled) update.embedding.push_back(static_cast<float>(value / rows));
}

}  // namespace

absl::StatusOr<std::vector<const proto::SequenceResult*>> MatchResults(const BatchStep& step,
                                                                       const proto::StepResult& result,
                                                                       int64_t vocabulary) {
  std::map<int64_t, const proto::SequenceResult*> by_id;
  for (const proto::SequenceResult& sequence : result.sequences()) {
    if (!by_id.emplace(sequence.sequence_id(), &sequence).second) {
      return absl::InvalidArgumentError(absl::StrFormat("sequence %d has two results", sequence.sequence_id()));
    }
  }
  std::vector<const proto::SequenceResult*> matched;
  for (const StepSlice& slice : step.slices) {
    const auto found = by_id.find(slice.sequence_id);
    if (found == by_id.end()) {
      if (slice.candidates > 0 || slice.targets > 0 || slice.embedding_floats > 0) {
        return absl::InvalidArgumentError(absl::StrFormat("no result for sequence %d", slice.sequence_id));
      }
      matched.push_back(nullptr);
      continue;
    }
    if (absl::Status status = CheckSlice(slice, *found->second, vocabulary); !status.ok()) {
      return absl::InvalidArgumentError(absl::StrFormat("sequence %d: %s", slice.sequence_id, status.message()));
    }
    matched.push_back(found->second);
    by_id.erase(found);
  }
  if (!by_id.empty()) {
    return absl::InvalidArgumentError(absl::StrFormat("sequence %d is not in this step", by_id.begin()->first));
  }
  return matched;
}

FinishReason ApplyResult(const StepSlice& slice, const proto::SequenceResult* result, const std::set<int32_t>& end_ids,
                         Sequence& sequence, RequestUpdate& update) {
  update.prompt_tokens_done = std::min(sequence.computed, sequence.prompt_tokens);
  update.cached_tokens = sequence.cached_tokens;
  if (slice.targets > 0) AddScores(slice, *result, sequence, update);
  if (slice.embedding_floats > 0) AddPooled(slice, result->embedding(), sequence);
  if (slice.candidates > 0) {
    const FinishReason reason = slice.draft.empty() ? DrawToken(*result, end_ids, sequence, update)
                                                    : DrawDrafted(slice.draft, *result, end_ids, sequence, update);
    if (reason != FinishReason::kNone) return reason;
  }
  const bool all_computed = sequence.computed >= sequence.prompt_tokens;
  if (!all_computed || sequence.generated() < sequence.request.max_tokens) return FinishReason::kNone;
  ReleaseHeld(0, sequence, update);
  TakeEmbedding(sequence, update);
  return FinishReason::kLength;
}

}  // namespace barn
