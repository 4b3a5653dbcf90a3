#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/time/time.h"
#include "coordinator/http/api_error.h"
#include "coordinator/http/chat_request.h"
#include "coordinator/http/shared_fields.h"

namespace barn {

// POST /v1/completions.
struct CompletionRequest {
  SharedFields shared;
  std::vector<std::variant<std::string, std::vector<int32_t>>> prompts;  // Texts or token ids, not checked yet.
  std::string suffix;  // Not empty: the answer fills the gap between a prompt, which is a text, and this.
  bool echo = false;
};

// Fill the struct from a JSON body and return what is wrong with it, naming the field. Fields that would change the
// answer but are not supported are refused; other unknown ones are ignored.
std::optional<ApiError> ReadCompletionRequest(const nlohmann::json& body, CompletionRequest& request);
std::optional<ApiError> ReadChatRequest(const nlohmann::json& body, ChatRequest& request);

// The error for a body that is no object.
ApiError NotAnObject(const nlohmann::json& body);

// What a chat's template sees (messages, tools, chat_template_kwargs), from the same body as text, which
// ReadChatRequest has found to be right.
std::optional<ApiError> ReadTemplateInputs(std::string_view body, ChatRequest& request);

}  // namespace barn
