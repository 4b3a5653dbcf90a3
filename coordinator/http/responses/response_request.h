#pragma once

#include <optional>
#include <string_view>

#include <nlohmann/json.hpp>

#include "coordinator/http/api_error.h"
#include "coordinator/http/chat_request.h"

namespace barn {

// POST /v1/responses: the body, parsed and as text, into a chat. The server keeps no conversations, so a request that
// leans on an earlier one is refused, as are tools that OpenAI runs itself. 400 that names the field.
std::optional<ApiError> ReadResponseRequest(const nlohmann::json& body, std::string_view text, ChatRequest& request);

}  // namespace barn
