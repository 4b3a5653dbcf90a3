#pragma once

#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "absl/strings/string_view.h"
#include "coordinator/http/answer.h"
#include "coordinator/http/api_error.h"
#include "coordinator/http/served_model.h"
#include "coordinator/http/shared_fields.h"
#include "coordinator/scheduler/engine.h"

namespace barn {

using JobResult = std::variant<ApiError, GenerationJob>;

// Whether `name` in a request means this model.
bool Serves(const ServedModel& model, absl::string_view name);

// What an answer shall call the model that a request calls `name`: an adapter keeps its name.
std::string ModelName(const ServedModel& model, absl::string_view name);

// Longest prompt plus answer: what the engine can hold now, else the model's number; 0 if neither is known yet.
int64_t ContextTokens(const ServedModel& model, const EngineState& engine);

// 404 for another model, 400 for a model that generates nothing and for sampling that the vocabulary does not allow.
std::optional<ApiError> CheckShared(const ServedModel& model, const SharedFields& shared);

// Checks that prompt and answer fit together. Both numbers stand in the message, since nothing is ever cut.
std::optional<ApiError> CheckFits(absl::string_view param, int64_t prompt_tokens, int64_t max_tokens,
                                  int64_t context_tokens);

// Takes the oldest tokens away until so many are left; a begin token stays where it is.
void Truncate(const ServedModel& model, int64_t tokens_max, std::vector<int32_t>& ids);

GenerateRequest EngineRequest(const ServedModel& model, const SharedFields& shared, std::vector<int32_t> prompt,
                              int64_t max_tokens);

// Compiles what the answer is held to. 400 names the field, and the place in its grammar or schema.
std::optional<ApiError> HoldToForm(const ServedModel& model, const SharedFields& shared, GenerateRequest& request);

// n copies; each draws with a seed of its own, or they would all be the same.
void AddChoices(const SharedFields& shared, const GenerateRequest& request, std::vector<GenerateRequest>& requests);

ApiError NotLoaded(const EngineState& engine);

}  // namespace barn
