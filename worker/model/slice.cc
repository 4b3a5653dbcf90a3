#include "worker/model/slice.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_format.h"
#include "proto/base/status.h"
#include "worker/model/loaded_slice.h"

// A step through the layers of a slice.

namespace barn {

void LoadedSlice::LayOut(const StepInput& step) {
  tokens_.clear();
  positions_.clear();
  sequences_.clear();
  row_adapters_.clear();
  const bool any_adapter = std::any_of(step.sequences.begin(), step.sequences.end(),
                                       [](const SequenceStep& sequence) { return !sequence.adapters.empty(); });
  for (const SequenceStep& sequence : step.sequences) {
    const auto rows = static_cast<int64_t>(sequence.tokens.size());
    sequences_.push_back({.first_row = static_cast<int64_t>(tokens_.size()),
                          .rows = rows,
                          .first_position = sequence.first_position,
                          .blocks = sequence.blocks});
    tokens_.insert(tokens_.end(), sequence.tokens.begin(), sequence.tokens.end());
    for (int64_t r = 0; r < rows; ++r) {
      positions_.push_back(static_cast<int32_t>(sequence.first_position + r));
    }
    if (any_adapter) row_adapters_.insert(row_adapters_.end(), sequence.tokens.size(), sequence.adapters);
  }
}

absl::StatusOr<Tensor> LoadedSlice::Run(const StepInput& input, std::span<const int32_t> wanted) {
  BARN_RETURN_IF_ERROR(CheckStep(input, limits_));
  for (const SequenceStep& sequence : input.sequences) BARN_RETURN_IF_ERROR(adapters_->Check(sequence.adapters));
  if (!ranks_.alone() && (input.collective == nullptr || input.collective->ranks() != ranks_.ranks() ||
                          input.collective->rank() != ranks_.rank())) {
    return absl::InvalidArgumentError(
        absl::StrFormat("rank %d of %d without the others", ranks_.rank(), ranks_.ranks()));
  }
  ranks_.BeginStep(input.collective, input.wait);
  LayOut(input);
  const Scratch::Frame frame(*activations_);
  const Tensor x = activations_->Take(static_cast<int64_t>(tokens_.size()), spec_.width);
  const std::optional<StepAdapters> adapters = AdaptersOf(x.rows);
  if (is_first_) {
    input_->Embed(device_, *scratch_, tokens_, positions_, adapters ? &*adapters : nullptr, x);
  } else {
    device_.CopyFromHost(input.activations, x);
  }
  const Step step = StepOf(adapters ? &*adapters : nullptr);
  for (size_t i = 0; i + 1 < layers_.size(); ++i) {
    layers_[i].Forward(step, x);
    BARN_RETURN_IF_ERROR(ranks_.status());
  }
  Tensor result = x;
  if (is_last_) {
    result = RunLastLayer(step, x, wanted);
  } else {
    layers_.back().Forward(step, x);
  }
  BARN_RETURN_IF_ERROR(ranks_.status());
  return result;
}

// Behind the last attention, positions that nobody asked for need no further work.
Tensor LoadedSlice::RunLastLayer(const Step& step, Tensor x, std::span<const int32_t> wanted_rows) {
  DecoderLayer& layer = layers_.back();
  if (layer.has_halves()) {
    layer.MixPositions(step, x);
  } else {
    layer.Forward(step, x);
  }
  const Tensor wanted = activations_->Take(static_cast<int64_t>(wanted_rows.size()), x.cols);
  for (int64_t i = 0, rows = 0; i < wanted.rows; i += rows) {
    // Neighbours together.
    for (rows = 1; i + rows < wanted.rows && wanted_rows[i + rows] == wanted_rows[i] + rows;) ++rows;
    device_.Copy(RowRange(x, wanted_rows[i], rows), RowRange(wanted, i, rows));
  }
  if (layer.has_halves() && wanted.rows > 0) {
    const std::optional<StepAdapters> adapters = AdaptersOf(wanted_rows);
    layer.FeedForward(StepOf(adapters ? &*adapters : nullptr), wanted);
  }
  return wanted;
}

Step LoadedSlice::StepOf(const StepAdapters* adapters) {
  return {.device = device_,
          .scratch = *scratch_,
          .sequences = sequences_,
          .positions = positions_,
          .row_scales = row_scales_,
          .observe_routes = observe_routes_,
          .ranks = ranks_,
          .host_scratch = host_scratch_ ? &*host_scratch_ : nullptr,
          .adapters = adapters};
}

std::optional<StepAdapters> LoadedSlice::AdaptersOf(int64_t rows) {
  if (row_adapters_.empty()) return std::nullopt;
  return StepAdapters{&*adapters_, adapters_->Rows(rows, [&](int64_t row) { return row_adapters_[row]; })};
}

std::optional<StepAdapters> LoadedSlice::AdaptersOf(std::span<const int32_t> logit_rows) {
  if (row_adapters_.empty()) return std::nullopt;
  return StepAdapters{&*adapters_, adapters_->Rows(std::ssize(logit_rows),
                                                   [&](int64_t row) { return row_adapters_[logit_rows[row]]; })};
}

absl::Status LoadedSlice::Forward(const StepInput& step, std::span<float> activations_out) {
  if (is_last_) {
    return absl::InvalidArgumentError("the last slice of a model gives logits, not activations");
  }
  if (static_cast<int64_t>(activations_out.size()) != CountRows(step) * spec_.width) {
    return absl::InvalidArgumentError(absl::StrFormat("room for %d activations, but %d rows give %d",
                                                      activations_out.size(), CountRows(step),
                                                      CountRows(step) * spec_.width));
  }
  BARN_ASSIGN_OR_RETURN(const Tensor x, Run(step, {}));
  const Tensor host = device_.ToHost(x);
  BARN_RETURN_IF_ERROR(ranks_.Finish());
  BARN_RETURN_IF_ERROR(device_.status());
  std::copy_n(host.data, host.rows * host.cols, activations_out.begin());
  return absl::OkStatus();
}

absl::Status LoadedSlice::ForwardToLogits(const StepInput& step, std::span<const int32_t> logit_rows, LogitSink sink) {
  if (!is_last_) {
    return absl::InvalidArgumentError("only the last slice of a model gives logits");
  }
  BARN_RETURN_IF_ERROR(CheckWishes(step, logit_rows));
  wanted_rows_.assign(logit_rows.begin(), logit_rows.end());
  wanted_rows_.insert(wanted_rows_.end(), step.hidden_rows.begin(), step.hidden_rows.end());
  wanted_rows_.insert(wanted_rows_.end(), step.score_rows.begin(), step.score_rows.end());
  BARN_RETURN_IF_ERROR(CheckLogitRows(wanted_rows_, CountRows(step)));
  BARN_ASSIGN_OR_RETURN(const Tensor x, Run(step, wanted_rows_));
  const auto hidden_rows = static_cast<int64_t>(step.hidden_rows.size());
  const auto first_hidden = static_cast<int64_t>(logit_rows.size());
  BARN_RETURN_IF_ERROR(ReadHidden(RowRange(x, first_hidden, hidden_rows), step.hidden));
  BARN_RETURN_IF_ERROR(
      ReadScores(RowRange(x, first_hidden + hidden_rows, static_cast<int64_t>(step.score_rows.size())), step.scores));
  for (size_t first = 0; first < logit_rows.size(); first += kLogitRowsMax) {
    const auto rows = static_cast<int64_t>(std::min<size_t>(kLogitRowsMax, logit_rows.size() - first));
    const Scratch::Frame frame(*scratch_);
    const Tensor logits = scratch_->Take(rows, spec_.vocabulary);
    Logits(RowRange(x, static_cast<int64_t>(first), rows), logit_rows.subspan(first, rows), logits);
    BARN_RETURN_IF_ERROR(ranks_.status());
    const Tensor host = device_.ToHost(logits);
    BARN_RETURN_IF_ERROR(ranks_.Finish());
    BARN_RETURN_IF_ERROR(device_.status());
    sink(static_cast<int64_t>(first), host);
  }
  return ranks_.Finish();
}

absl::Status LoadedSlice::CheckWishes(const StepInput& step, std::span<const int32_t> logit_rows) const {
  const auto hidden_rows = static_cast<int64_t>(step.hidden_rows.size());
  if (static_cast<int64_t>(step.hidden.size()) != hidden_rows * spec_.width ||
      step.scores.size() != step.score_rows.size()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("room for %d numbers of %d hidden rows of %d, and for %d of %d scores", step.hidden.size(),
                        hidden_rows, spec_.width, step.scores.size(), step.score_rows.size()));
  }
  if (spec_.encoder && !logit_rows.empty()) {
    return absl::InvalidArgumentError("logits of an encoder, which has none");
  }
  if (!score_head_ && !step.score_rows.empty()) {
    return absl::InvalidArgumentError("scores of a model without a classification head");
  }
  return absl::OkStatus();
}

absl::Status LoadedSlice::ReadHidden(Tensor x, std::span<float> out) {
  return ReadNormed(x, out, [this](Tensor normed) {
    return embedding_head_ ? embedding_head_->Project(device_, *scratch_, normed) : normed;
  });
}

absl::Status LoadedSlice::ReadScores(Tensor x, std::span<float> out) {
  return ReadNormed(x, out, [this](Tensor normed) { return score_head_->Score(device_, *scratch_, normed); });
}

absl::Status LoadedSlice::ReadNormed(Tensor x, std::span<float> out, absl::FunctionRef<Tensor(Tensor)> of) {
  for (int64_t first = 0; first < x.rows; first += kLogitRowsMax) {
    const Scratch::Frame frame(*scratch_);
    Tensor rows = RowRange(x, first, std::min(kLogitRowsMax, x.rows - first));
    if (output_norm_) {
      const Tensor normed = scratch_->Take(rows.rows, x.cols);
      output_norm_->Apply(device_, rows, normed);
      rows = normed;
    }
    const Tensor host = device_.ToHost(of(rows));
    BARN_RETURN_IF_ERROR(device_.status());
    for (int64_t r = 0; r < host.rows; ++r) {
      std::copy_n(host.row(r), host.cols, out.begin() + (first + r) * host.cols);
    }
  }
  return absl::OkStatus();
}

// x: [rows, D], logits: [rows, V].
void LoadedSlice::Logits(Tensor x, std::span<const int32_t> logit_rows, Tensor logits) {
  const Scratch::Frame frame(*scratch_);
  const Tensor normed = scratch_->Take(logits.rows, spec_.width);
  output_norm_->Apply(device_, x, normed);
  const Projection projection[] = {{head_, nullptr, Columns(logits, entries_.mine)}};
  const std::optional<StepAdapters> adapters = AdaptersOf(logit_rows);
  StepOf(adapters ? &*adapters : nullptr).Multiply(projection, normed);
  ranks_.Complete(logits, entries_);
  if (spec_.logit_scale != 1) {
    device_.Scale(logits, spec_.logit_scale);
  }
  if (spec_.final_softcap > 0) {
    device_.Softcap(logits, spec_.final_softcap);
  }
}

}  // namespace barn
