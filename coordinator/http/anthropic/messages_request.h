#pragma once

#include <optional>
#include <string_view>

#include <nlohmann/json.hpp>

#include "coordinator/http/api_error.h"
#include "coordinator/http/chat_request.h"

namespace barn {

// POST /v1/messages and, without max_tokens, /v1/messages/count_tokens: the body, parsed and as text, into a chat.
// 400 that names the field: what is missing, of another type, or beyond a text model (images, documents, tools that
// Anthropic runs).
std::optional<ApiError> ReadMessagesRequest(const nlohmann::json& body, std::string_view text, bool counts_only,
                                            ChatRequest& request);

}  // namespace barn
