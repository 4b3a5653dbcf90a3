#include "worker/model/input.h"

#include "worker/model/adapters.h"

namespace barn {

Input::Input(TensorLoader& loader, const ModelSpec& spec)
    : scale_(spec.embedding_scale), separator_(spec.input.types > 1 ? spec.input.separator : -1) {
  const auto table = [&](std::string_view name, int64_t rows) {
    return loader.Matrix(name, {.rows = rows, .cols = spec.width}, rows > 0 ? Presence::kRequired : Presence::kAbsent,
                         MatrixUse::kRows);
  };
  tokens_ = table("token_embd.weight", spec.vocabulary);
  positions_ = table("position_embd.weight", spec.input.positions);
  types_ = table("token_types.weight", spec.input.types);
  if (spec.input.norm) norm_.emplace(loader, spec.norm, "token_embd_norm", spec.width);
}

// Sequences of a model with types come whole, so a position 0 begins one.
void Input::FindTypes(std::span<const int32_t> tokens, std::span<const int32_t> positions) {
  type_ids_.clear();
  int32_t type = 0;
  for (size_t t = 0; t < tokens.size(); ++t) {
    if (positions[t] == 0) type = 0;
    type_ids_.push_back(type);
    if (tokens[t] == separator_) type = 1;
  }
}

void Input::Embed(Device& device, Scratch& scratch, std::span<const int32_t> tokens, std::span<const int32_t> positions,
                  const StepAdapters* adapters, Tensor x) {
  const Scratch::Frame frame(scratch);
  device.EmbedRows(*tokens_, tokens, x);
  if (adapters != nullptr) adapters->slice->AddEmbedding(adapters->rows, *tokens_, tokens, x);
  if (scale_ != 1) device.Scale(x, scale_);
  const Tensor more = positions_ != nullptr || types_ != nullptr ? scratch.Take(x.rows, x.cols) : Tensor{};
  if (types_ != nullptr) {
    FindTypes(tokens, positions);
    device.EmbedRows(*types_, type_ids_, more);
    device.Add(x, more);
  }
  if (positions_ != nullptr) {
    device.EmbedRows(*positions_, positions, more);
    device.Add(x, more);
  }
  if (norm_) norm_->Apply(device, x, x);
}

}  // namespace barn
