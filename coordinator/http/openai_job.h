#pragma once

#include <cstdint>
#include <variant>

#include "absl/strings/string_view.h"
#include "coordinator/http/answer.h"
#include "coordinator/http/api_error.h"
#include "coordinator/http/openai_request.h"
#include "coordinator/http/served_model.h"

namespace barn {

using JobResult = std::variant<ApiError, GenerationJob>;

// Whether `name` in a request means this model.
bool Serves(const ServedModel& model, absl::string_view name);

// Turn a request into prompts of token ids and the writer of its answer. `engine_context_tokens`: what the engine can
// hold now; 0 if unknown, then the model's number counts. Errors: 404 for another model; 400 for token ids outside the
// vocabulary, an empty prompt, or (code context_length_exceeded, with both numbers) one that does not fit with its
// answer.
JobResult CompletionJob(const ServedModel& model, int64_t engine_context_tokens, CompletionRequest request);
JobResult ChatJob(const ServedModel& model, int64_t engine_context_tokens, ChatRequest request);

}  // namespace barn
