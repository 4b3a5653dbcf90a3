#pragma once

#include "coordinator/http/chat_request.h"
#include "coordinator/http/generation_job.h"
#include "coordinator/http/openai_request.h"

namespace barn {

// The ids of a prompt, which is a text or consists of ids. 400: an id outside the vocabulary, an empty prompt.
std::optional<ApiError> ReadPromptIds(const ServedModel& model,
                                      const std::variant<std::string, std::vector<int32_t>>& prompt,
                                      std::vector<int32_t>& ids);

// Turn a request into prompts of token ids and the writer of its answer. Errors: 404 for another model; 400 for token
// ids outside the vocabulary, an empty prompt, or (code context_length_exceeded, with both numbers) one that does not
// fit with its answer; 503 while the context is not known.
JobResult CompletionJob(const ServedModel& model, const EngineState& engine, CompletionRequest request);
JobResult ChatJob(const ServedModel& model, const EngineState& engine, const ChatRequest& request);

}  // namespace barn
