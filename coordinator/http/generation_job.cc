#include "coordinator/http/generation_job.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/http/served_adapters.h"

namespace barn {

bool Serves(const ServedModel& model, absl::string_view name) {
  return name == model.id || std::find(model.aliases.begin(), model.aliases.end(), name) != model.aliases.end() ||
         (model.adapters != nullptr && model.adapters->Find(name).has_value());
}

std::string ModelName(const ServedModel& model, absl::string_view name) {
  const bool adapter = model.adapters != nullptr && model.adapters->Find(name).has_value();
  return adapter ? std::string(name) : model.id;
}

namespace {

// The adapters that a request names by number beside the one that its model's name is.
std::vector<AdapterUse> UsesOf(const ServedModel& model, const SharedFields& shared) {
  if (model.adapters == nullptr) return {};
  if (!shared.lora.has_value()) return model.adapters->UsesOf(shared.model);
  std::map<int64_t, float> scales;
  if (const auto named = model.adapters->Find(shared.model)) scales[named->id] = named->scale;
  for (const auto& [number, scale] : *shared.lora) {
    if (const auto adapter = model.adapters->FindNumber(number)) scales[adapter->id] = scale;
  }
  std::vector<AdapterUse> uses;
  for (const auto& [id, scale] : scales) {
    if (scale != 0) uses.push_back({.id = id, .scale = scale});
  }
  return uses;
}

std::optional<ApiError> CheckLora(const ServedModel& model, const SharedFields& shared) {
  if (!shared.lora.has_value()) return std::nullopt;
  for (const auto& [number, scale] : *shared.lora) {
    if (model.adapters != nullptr && model.adapters->FindNumber(number).has_value()) continue;
    return BadParam("lora", absl::StrCat("'lora' names the adapter ", number, ", which is not loaded"));
  }
  return std::nullopt;
}

}  // namespace

int64_t ContextTokens(const ServedModel& model, const EngineState& engine) {
  return engine.context_tokens_max > 0 ? engine.context_tokens_max : model.context_tokens;
}

std::optional<ApiError> CheckShared(const ServedModel& model, const SharedFields& shared) {
  if (!shared.model.empty() && !Serves(model, shared.model)) return ModelNotFound(shared.model);
  if (model.facts.embedding.encoder) {
    ApiError error =
        BadParam("model", absl::StrCat("'", model.id, "' is an encoder: it gives embeddings",
                                       model.facts.embedding.scores ? " and scores" : "", ", and generates no text"));
    error.code = "model_generates_no_text";
    return error;
  }
  if (auto error = CheckLora(model, shared)) return error;
  for (const auto& [id, bias] : shared.sampling.logit_bias) {
    if (id >= model.tokenizer.size()) {
      return BadParam("logit_bias",
                      absl::StrCat("'logit_bias' names token ", id, ", the last one is ", model.tokenizer.size() - 1));
    }
  }
  SamplingParams sampling = shared.sampling;
  sampling.tokenizer = &model.tokenizer;
  const absl::Status status = Validate(sampling, model.tokenizer.size());
  return status.ok() ? std::nullopt : std::optional<ApiError>(FromStatus(status));
}

std::optional<ApiError> CheckFits(absl::string_view param, int64_t prompt_tokens, int64_t max_tokens,
                                  int64_t context_tokens) {
  if (prompt_tokens + max_tokens <= context_tokens) return std::nullopt;
  ApiError error = BadParam(param, absl::StrCat("the prompt has ", prompt_tokens, " tokens, but the context holds ",
                                                context_tokens, " for prompt and answer"));
  if (prompt_tokens < context_tokens) {
    error = BadParam("max_tokens", absl::StrCat("the prompt has ", prompt_tokens, " tokens and max_tokens is ",
                                                max_tokens, ", but the context holds ", context_tokens, " for both"));
  }
  error.code = "context_length_exceeded";
  return error;
}

void Truncate(const ServedModel& model, int64_t tokens_max, std::vector<int32_t>& ids) {
  const int64_t excess = static_cast<int64_t>(ids.size()) - std::max<int64_t>(1, tokens_max);
  if (excess <= 0) return;
  const bool begins = ids.size() > 1 && ids.front() == model.tokenizer.vocabulary().bos && tokens_max > 1;
  const auto first = ids.begin() + (begins ? 1 : 0);
  ids.erase(first, first + excess);
}

GenerateRequest EngineRequest(const ServedModel& model, const SharedFields& shared, std::vector<int32_t> prompt,
                              int64_t max_tokens) {
  GenerateRequest request;
  request.prompt = std::move(prompt);
  request.max_tokens = max_tokens;
  request.sampling = shared.sampling;
  request.sampling.tokenizer = &model.tokenizer;
  request.top_logprobs = shared.top_logprobs;
  request.ignore_end = shared.ignore_eos;
  request.timeout = shared.timeout;
  request.adapters = UsesOf(model, shared);
  return request;
}

std::optional<ApiError> HoldToForm(const ServedModel& model, const SharedFields& shared, GenerateRequest& request) {
  const AnswerForm& form = shared.form;
  if (form.field.empty()) return std::nullopt;
  absl::StatusOr<grammar::Constraint> compiled = model.grammars->Get(form.source);
  if (!compiled.ok()) return BadParam(form.field, absl::StrCat("'", form.field, "': ", compiled.status().message()));
  request.constraint = *std::move(compiled);
  return std::nullopt;
}

void AddChoices(const SharedFields& shared, const GenerateRequest& request, std::vector<GenerateRequest>& requests) {
  for (int64_t i = 0; i < shared.n; ++i) {
    requests.push_back(request);
    if (shared.sampling.seed.has_value())
      requests.back().sampling.seed = *shared.sampling.seed + static_cast<uint64_t>(i);
  }
}

ApiError NotLoaded(const EngineState& engine) {
  return FromStatus(absl::UnavailableError(engine.reason.empty() ? "the model is not loaded yet" : engine.reason));
}

}  // namespace barn
