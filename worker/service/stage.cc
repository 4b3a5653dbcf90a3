#include "worker/service/stage.h"

#include <span>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "proto/base/status.h"

namespace barn {
namespace {

std::span<float> Values(Tensor logits, int64_t row) { return {logits.row(row), static_cast<size_t>(logits.cols)}; }

void AddScore(const proto::StepSequence& sequence, int target, const LogitRanking& ranking,
              proto::SequenceResult& out) {
  proto::TargetScore& score = *out.add_scores();
  const float logit = ranking.logits[sequence.targets(target)];
  score.set_logit(logit);
  score.set_logsumexp(ranking.logsumexp);
  score.set_best(!(ranking.largest > logit));
  for (const RankedLogit& candidate : ranking.best) {
    score.add_candidate_ids(candidate.id);
    score.add_candidate_logits(candidate.logit);
  }
}

// Result: SequenceResult or RowResult.
template <class Result>
void AddCandidates(const proto::StepSequence& sequence, const LogitRanking& ranking, Result& out) {
  out.set_logsumexp(ranking.logsumexp);
  if (sequence.want_deviation()) out.set_logit_deviation(Deviation(ranking.logits));
  for (const RankedLogit& candidate : ranking.best) {
    out.add_candidate_ids(candidate.id);
    out.add_candidate_logits(candidate.logit);
  }
}

}  // namespace

absl::Status Stage::ComputeLogits(const proto::StepRequest& request, const StepPlan& plan, const StepInput& step,
                                  proto::StepResult& result) {
  StepInput input = step;
  hidden_.resize(plan.hidden_rows.size() * static_cast<size_t>(options_.slice->width()));
  scores_.resize(plan.score_rows.size());
  input.hidden_rows = plan.hidden_rows;
  input.hidden = hidden_;
  input.score_rows = plan.score_rows;
  input.scores = scores_;
  std::vector<int32_t> rows;
  rows.reserve(plan.logit_rows.size());
  for (const LogitRow& row : plan.logit_rows) {
    rows.push_back(row.row);
  }
  const auto chunk_of = [&](int64_t first, Tensor logits) {
    return std::span<const LogitRow>(plan.logit_rows.data() + first, static_cast<size_t>(logits.rows));
  };
  if (has_ranks() && options_.collective->rank() > 0) {
    return options_.slice->ForwardToLogits(
        input, rows, [&](int64_t first, Tensor logits) { RankBest(request, plan, chunk_of(first, logits), logits); });
  }
  for (const proto::StepSequence& sequence : request.sequences()) {
    result.add_sequences()->set_sequence_id(sequence.sequence_id());
  }
  BARN_RETURN_IF_ERROR(options_.slice->ForwardToLogits(input, rows, [&](int64_t first, Tensor logits) {
    AddScores(request, chunk_of(first, logits), logits, result);  // Before edits: a score is about the model.
    AddLastRows(request, plan, chunk_of(first, logits), logits, result);
  }));
  AddEmbeddings(plan, result);
  return absl::OkStatus();
}

void Stage::AddEmbeddings(const StepPlan& plan, proto::StepResult& result) const {
  const auto width = static_cast<size_t>(options_.slice->width());
  std::vector<float> embedding;
  for (const PooledRows& pooled : plan.pooled) {
    const auto first = static_cast<size_t>(pooled.first);
    if (pooled.score) {
      embedding.assign(1, scores_[first]);
    } else if (pooled.count == 1) {
      embedding.assign(hidden_.begin() + static_cast<int64_t>(first * width),
                       hidden_.begin() + static_cast<int64_t>((first + 1) * width));
    } else {
      std::vector<double> sums(width, 0);
      for (size_t row = first; row < first + static_cast<size_t>(pooled.count); ++row) {
        for (size_t i = 0; i < width; ++i) sums[i] += hidden_[row * width + i];
      }
      embedding.assign(sums.begin(), sums.end());
    }
    result.mutable_sequences(pooled.sequence)->set_embedding(embedding.data(), embedding.size() * sizeof(float));
  }
}

void Stage::AddScores(const proto::StepRequest& request, std::span<const LogitRow> rows, Tensor logits,
                      proto::StepResult& result) {
  rankings_.clear();
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].target >= 0) {
      rankings_.push_back({.logits = Values(logits, static_cast<int64_t>(i)),
                           .count = request.sequences(rows[i].sequence).target_candidates()});
    }
  }
  options_.device->RankLogits(rankings_);
  size_t at = 0;
  for (const LogitRow& row : rows) {
    if (row.target >= 0) {
      AddScore(request.sequences(row.sequence), row.target, rankings_[at++], *result.mutable_sequences(row.sequence));
    }
  }
}

// Changes the logits in place.
void Stage::RankLastRows(const proto::StepRequest& request, const StepPlan& plan, std::span<const LogitRow> rows,
                         Tensor logits, absl::FunctionRef<bool(const LogitRow&, const proto::StepSequence&)> wanted,
                         absl::FunctionRef<void(const LogitRow&, const LogitRanking&)> use) {
  const auto ranked = [&](const LogitRow& row) {
    const proto::StepSequence& sequence = request.sequences(row.sequence);
    return (row.last || row.more) && sequence.want_candidates() && wanted(row, sequence);
  };
  rankings_.clear();
  for (size_t i = 0; i < rows.size(); ++i) {
    if (ranked(rows[i])) {
      const std::span<float> values = Values(logits, static_cast<int64_t>(i));
      ApplyChanges(plan.changes[rows[i].sequence], values);
      ApplyMask(plan.masks[rows[i].sequence], values);
      rankings_.push_back({.logits = values, .count = request.sequences(rows[i].sequence).candidates()});
    }
  }
  options_.device->RankLogits(rankings_);
  size_t at = 0;
  for (const LogitRow& row : rows) {
    if (ranked(row)) {
      const LogitRanking& ranking = rankings_[at++];
      if (row.last) NoteBest(request.sequences(row.sequence).sequence_id(), ranking);
      use(row, ranking);
    }
  }
}

void Stage::AddLastRows(const proto::StepRequest& request, const StepPlan& plan, std::span<const LogitRow> rows,
                        Tensor logits, proto::StepResult& result) {
  for (size_t i = 0; i < rows.size(); ++i) {  // Before edits.
    if (rows[i].last && request.sequences(rows[i].sequence).want_full_logits()) {
      const std::span<float> values = Values(logits, static_cast<int64_t>(i));
      result.mutable_sequences(rows[i].sequence)->set_full_logits(values.data(), values.size_bytes());
    }
  }
  RankLastRows(
      request, plan, rows, logits, [](const LogitRow&, const proto::StepSequence&) { return true; },
      [&](const LogitRow& row, const LogitRanking& ranking) {
        const proto::StepSequence& sequence = request.sequences(row.sequence);
        proto::SequenceResult& out = *result.mutable_sequences(row.sequence);
        if (row.last) {
          AddCandidates(sequence, ranking, out);
        } else {
          AddCandidates(sequence, ranking, *out.add_rows());
        }
      });
}

void Stage::NoteBest(int64_t sequence_id, const LogitRanking& ranking) {
  if (ranking.count == 1 && !ranking.best.empty()) {
    best_next_[sequence_id] = ranking.best[0].id;
  }
}

void Stage::RankBest(const proto::StepRequest& request, const StepPlan& plan, std::span<const LogitRow> rows,
                     Tensor logits) {
  RankLastRows(
      request, plan, rows, logits,
      [](const LogitRow& row, const proto::StepSequence& sequence) { return row.last && sequence.candidates() == 1; },
      [](const LogitRow&, const LogitRanking&) {});
}

absl::Status Stage::Compute(const proto::StepRequest& request, const StepPlan& plan, const StepInput& input,
                            proto::StepResult& result) {
  if (options_.sender == nullptr) {
    return ComputeLogits(request, plan, input, result);
  }
  activations_.resize(plan.rows * options_.slice->width());
  return options_.slice->Forward(input, activations_);
}

absl::StatusOr<proto::StepResult> Stage::Run(const proto::StepRequest& request, const std::stop_token& stop) {
  if (request.step_id() <= last_step_) {
    return absl::InvalidArgumentError(absl::StrFormat("step %d comes after step %d", request.step_id(), last_step_));
  }
  last_step_ = request.step_id();
  best_.swap(best_next_);
  best_next_.clear();
  BARN_ASSIGN_OR_RETURN(const StepPlan plan, PlanStep(request, options_.limits, best_, tables_));
  proto::StepResult result;
  result.set_epoch(request.epoch());
  result.set_step_id(request.step_id());
  if (plan.rows == 0) {
    return result;
  }
  const absl::Time began = absl::Now();
  HopFrame frame;
  StepInput input{.sequences = plan.sequences,
                  .activations = {},
                  .collective = options_.collective.get(),
                  .wait = {.deadline = began + options_.frame_wait, .stop = stop}};
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
