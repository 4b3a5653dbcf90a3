#pragma once

#include <cstdint>
#include <variant>

#include "absl/strings/string_view.h"
#include "coordinator/http/answer.h"
#include "coordinator/http/api_error.h"
#include "coordinator/http/openai_request.h"
#include "coordinator/http/served_model.h"
#include "coordinator/scheduler/engine.h"

namespace barn {

using JobResult = std::variant<ApiError, GenerationJob>;

// Whether `name` in a request means this model.
bool Serves(const ServedModel& model, absl::string_view name);

// Longest prompt plus answer: what the engine can hold now, else the model's number; 0 if neither is known yet.
int64_t ContextTokens(const ServedModel& model, const EngineState& engine);

// Turn a request into prompts of token ids and the writer of its answer. Errors: 404 for another model; 400 for token
// ids outside the vocabulary, an empty prompt, or (code context_length_exceeded, with both numbers) one that does not
// fit with its answer; 503 while the context is not known.
JobResult CompletionJob(const ServedModel& model, const EngineState& engine, CompletionRequest request);
JobResult ChatJob(const ServedModel& model, const EngineState& engine, ChatRequest request);

}  // namespace barn
