#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/time/time.h"
#include "coordinator/http/api_error.h"
#include "coordinator/text/chat_format.h"
#include "coordinator/text/jinja/value.h"
#include "coordinator/text/sampler.h"

namespace barn {

inline constexpr int64_t kChoicesMax = 128;  // Prompts times n of one request.
inline constexpr int64_t kStopsMax = 16;     // OpenAI allows 4.
inline constexpr int64_t kStopBytesMax = 1024;
inline constexpr int64_t kTopLogprobsMax = 20;
inline constexpr double kTimeoutSecondsMax = 7 * 24 * 3600;

// Fields that /v1/completions and /v1/chat/completions share.
struct SharedFields {
  std::string model;  // Empty: the served one.
  SamplingParams sampling;
  std::optional<int64_t> max_tokens;
  int64_t n = 1;
  std::vector<std::string> stop;  // None is empty.
  bool stream = false;
  bool include_usage = false;
  bool ignore_eos = false;  // Extension: generate max_tokens whatever the model says.
  bool logprobs = false;
  int top_logprobs = 0;
  bool truncate = false;  // Extension: a prompt that is too long loses its oldest tokens instead of being refused.
  absl::Duration timeout = absl::InfiniteDuration();  // Extension: seconds until the answer must be complete.
};

// POST /v1/completions.
struct CompletionRequest {
  SharedFields shared;
  std::vector<std::variant<std::string, std::vector<int32_t>>> prompts;  // Texts or token ids, not checked yet.
  bool echo = false;
};

// POST /v1/chat/completions.
struct ChatRequest {
  SharedFields shared;
  std::vector<ChatMessage> messages;
  // For the model's template, as the client wrote them: the messages, and chat_template_kwargs.
  jinja::List raw_messages;
  jinja::Dict template_inputs;
};

// Fill the struct from a JSON body and return what is wrong with it, naming the field. Fields that would change the
// answer but are not supported are refused; other unknown ones are ignored.
std::optional<ApiError> ReadCompletionRequest(const nlohmann::json& body, CompletionRequest& request);
std::optional<ApiError> ReadChatRequest(const nlohmann::json& body, ChatRequest& request);

// What a chat's template sees, from the same body as text, which ReadChatRequest has found to be right.
std::optional<ApiError> ReadTemplateInputs(std::string_view body, ChatRequest& request);

}  // namespace barn
