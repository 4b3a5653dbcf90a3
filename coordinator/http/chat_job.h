#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "coordinator/http/chat_request.h"
#include "coordinator/http/choice_parts.h"
#include "coordinator/http/generation_job.h"

namespace barn {

// A chat as tokens.
struct ChatPrompt {
  std::vector<int32_t> ids;
  std::string text;
  bool in_reasoning = false;  // The prompt has begun the model's reasoning.
};

// 400 with the field at fault: what the template refuses, or tools that it does not know.
std::variant<ApiError, ChatPrompt> RenderChat(const ServedModel& model, const ChatRequest& request);

// What the engine shall do for a chat, and how its answer comes apart.
struct PreparedChat {
  std::vector<GenerateRequest> requests;
  AnswerShape shape;
  int64_t prompt_tokens = 0;
};

// All that the dialects share of a chat, up to the wording of the answer. Errors as for CompletionJob.
std::variant<ApiError, PreparedChat> PrepareChat(const ServedModel& model, const EngineState& engine,
                                                 const ChatRequest& request);

}  // namespace barn
