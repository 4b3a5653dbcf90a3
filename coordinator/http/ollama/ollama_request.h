#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "coordinator/http/api_error.h"
#include "coordinator/http/chat_request.h"

namespace barn {

// POST /api/chat and /api/generate. A prompt of generate is a chat of one message, unless it is raw.
struct OllamaRequest {
  ChatRequest chat;
  bool empty = false;    // Nothing to answer: the client wants the model loaded, or unloaded.
  bool unloads = false;  // keep_alive is 0.
  bool raw = false;
  std::string prompt;         // With raw: the whole prompt, template and control tokens included.
  std::string suffix;         // Not empty: the answer fills the gap between the prompt and this.
  std::optional<bool> think;  // Whether the client asks for reasoning at all.
};

// The body, parsed and as text. 400 that names the field: of another type, or not supported.
std::optional<ApiError> ReadOllamaChat(const nlohmann::json& body, std::string_view text, OllamaRequest& request);
std::optional<ApiError> ReadOllamaGenerate(const nlohmann::json& body, std::string_view text, OllamaRequest& request);

// A model's name without the ":latest" that Ollama's clients add.
std::string OllamaModelName(std::string name);

}  // namespace barn
