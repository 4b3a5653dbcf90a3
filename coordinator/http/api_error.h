#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "coordinator/accounts/access_gate.h"
#include "coordinator/http/http_message.h"

namespace barn {

// A request that ends without an answer, in the terms of the OpenAI dialect.
struct ApiError {
  int status = 400;     // HTTP status.
  std::string message;  // One line for a person.
  std::string type = "invalid_request_error";
  std::optional<std::string> param;  // The field of the request that is at fault.
  std::optional<std::string> code;   // A name for programs, as "model_not_found".
  int64_t retry_after_s = 0;         // > 0: the same request may succeed after so many seconds.
  std::string allow;                 // Methods that the path knows, with status 405.
};

// Whose words a path speaks: OpenAI's unless it belongs to another.
enum class Dialect { kOpenAi, kAnthropic, kOllama };
Dialect DialectOf(absl::string_view path);

// 400 that names the field.
ApiError BadParam(absl::string_view param, absl::string_view message);

// 404 for a model that is not served here.
ApiError ModelNotFound(absl::string_view model);

// How a status of the engine looks to a client: InvalidArgument is 400, ResourceExhausted and Unavailable are 503 with
// Retry-After, or 429 where the limit is the caller's own; DeadlineExceeded is 504, NotFound 404,
// AlreadyExists 409, PermissionDenied 403, anything else 500.
ApiError FromStatus(const absl::Status& status);

// 401 without a known key, 403 for what its role may not do, 429 with Retry-After over its rate or quota.
ApiError FromRefusal(const Refusal& refusal);

// The error as one line of JSON. OpenAI: {"error": {"message", "type", "param", "code"}}; Anthropic: {"type": "error",
// "error": {"type", "message"}}; Ollama: {"error": message}.
std::string ErrorBody(const ApiError& error, Dialect dialect = Dialect::kOpenAi);

// The error as a whole reply, with Retry-After or Allow where due.
HttpReply ErrorReply(const ApiError& error, Dialect dialect = Dialect::kOpenAi);

}  // namespace barn
