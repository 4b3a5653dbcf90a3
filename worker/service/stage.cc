#include "worker/service/stage.h"

#include <span>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "proto/base/status.h"
#include "worker/service/logits.h"

namespace barn {
namespace {

void AddScore(const proto::StepSequence& sequence, int target, std::span<const float> logits,
              proto::SequenceResult& out) {
  proto::TargetScore& score = *out.add_scores();
  const int32_t id = sequence.targets(target);
  score.set_logit(logits[id]);
  score.set_logsumexp(LogSumExp(logits));
  score.set_best(IsBest(logits, id));
  for (const RankedLogit& candidate : TopLogits(logits, sequence.target_candidates())) {
    score.add_candidate_ids(candidate.id);
    score.add_candidate_logits(candidate.logit);
  }
}

// Changes the logits in place.
void AddCandidates(const proto::StepSequence& sequence, std::span<const LogitChange> changes, std::span<float> logits,
                   proto::SequenceResult& out) {
  if (sequence.want_full_logits()) {
    out.set_full_logits(logits.data(), logits.size_bytes());
  }
  if (!sequence.want_candidates()) {
    return;
  }
  ApplyChanges(changes, logits);
  out.set_logsumexp(LogSumExp(logits));
  for (const RankedLogit& candidate : TopLogits(logits, sequence.candidates())) {
    out.add_candidate_ids(candidate.id);
    out.add_candidate_logits(candidate.logit);
  }
}

}  // namespace

absl::Status Stage::ComputeLogits(const proto::StepRequest& request, const StepPlan& plan, const StepInput& input,
                                  proto::StepResult& result) {
  std::vector<int32_t> rows;
  rows.reserve(plan.logit_rows.size());
  for (const LogitRow& row : plan.logit_rows) {
    rows.push_back(row.row);
  }
  for (const proto::StepSequence& sequence : request.sequences()) {
    result.add_sequences()->set_sequence_id(sequence.sequence_id());
  }
  return options_.slice->ForwardToLogits(input, rows, [&](int64_t first, Tensor logits) {
    for (int64_t i = 0; i < logits.rows; ++i) {
      const LogitRow& row = plan.logit_rows[first + i];
      const proto::StepSequence& sequence = request.sequences(row.sequence);
      const std::span<float> values(logits.row(i), static_cast<size_t>(logits.cols));
      proto::SequenceResult& out = *result.mutable_sequences(row.sequence);
      if (row.target >= 0) {
        AddScore(sequence, row.target, values, out);  // Before edits: a score is about the model.
      }
      if (row.last) {
        AddCandidates(sequence, plan.changes[row.sequence], values, out);
      }
    }
  });
}

absl::Status Stage::Compute(const proto::StepRequest& request, const StepPlan& plan, const StepInput& input,
                            proto::StepResult& result) {
  if (options_.sender == nullptr) {
    return ComputeLogits(request, plan, input, result);
  }
  activations_.resize(plan.rows * options_.slice->width());
  return options_.slice->Forward(input, activations_);
}

absl::StatusOr<proto::StepResult> Stage::Run(const proto::StepRequest& request) {
  if (request.step_id() <= last_step_) {
    return absl::InvalidArgumentError(absl::StrFormat("step %d comes after step %d", request.step_id(), last_step_));
  }
  last_step_ = request.step_id();
  BARN_ASSIGN_OR_RETURN(const StepPlan plan, PlanStep(request, options_.limits, tables_));
  proto::StepResult result;
  result.set_epoch(request.epoch());
  result.set_step_id(request.step_id());
  if (plan.rows == 0) {
    return result;
  }
  const absl::Time began = absl::Now();
  HopFrame frame;
  StepInput input{.sequences = plan.sequences, .activations = {}};
  if (options_.receiver != nullptr) {
    BARN_ASSIGN_OR_RETURN(frame,
                          options_.receiver->Receive(options_.epoch, request.step_id(), began + options_.frame_wait));
    if (frame.rows != plan.rows) {
      return absl::DataLossError(absl::StrFormat("step %d: %d rows of activations for %d rows of tokens",
                                                 request.step_id(), frame.rows, plan.rows));
    }
    input.activations = frame.activations();
  }
  const absl::Time ready = absl::Now();
  const int64_t expert_bytes = options_.device->counters().expert_bytes_read;
  BARN_RETURN_IF_ERROR(Compute(request, plan, input, result));
  result.set_wait_us(absl::ToInt64Microseconds(ready - began));
  result.set_compute_us(absl::ToInt64Microseconds(absl::Now() - ready));
  result.set_expert_bytes_read(options_.device->counters().expert_bytes_read - expert_bytes);
  if (options_.sender != nullptr) {
    BARN_RETURN_IF_ERROR(
        options_.sender->Send(options_.epoch, request.step_id(), plan.rows, options_.slice->width(), activations_));
  }
  return result;
}

}  // namespace barn
