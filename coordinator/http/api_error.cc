#include "coordinator/http/api_error.h"

#include <nlohmann/json.hpp>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/types/optional.h"
#include "coordinator/scheduler/request.h"

namespace barn {
namespace {

nlohmann::json OrNull(const std::optional<std::string>& text) {
  return text.has_value() ? nlohmann::json(*text) : nlohmann::json(nullptr);
}

int64_t RetryAfter(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kRetryAfterPayload);
  int64_t seconds = 0;
  return payload.has_value() && absl::SimpleAtoi(std::string(*payload), &seconds) && seconds > 0 ? seconds : 1;
}

// The names that Anthropic has for statuses.
const char* AnthropicType(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 413:
      return "request_too_large";
    case 429:
      return "rate_limit_error";
    case 503:
      return "overloaded_error";
    default:
      return status < 500 ? "invalid_request_error" : "api_error";
  }
}

nlohmann::json ErrorJson(const ApiError& error, Dialect dialect) {
  switch (dialect) {
    case Dialect::kAnthropic:
      return {{"type", "error"}, {"error", {{"type", AnthropicType(error.status)}, {"message", error.message}}}};
    case Dialect::kOllama:
      return {{"error", error.message}};
    case Dialect::kOpenAi:
      break;
  }
  return {{"error",
           {{"message", error.message},
            {"type", error.type},
            {"param", OrNull(error.param)},
            {"code", OrNull(error.code)}}}};
}

}  // namespace

Dialect DialectOf(absl::string_view path) {
  if (absl::StartsWith(path, "/api/")) return Dialect::kOllama;
  return path == "/v1/messages" || absl::StartsWith(path, "/v1/messages/") ? Dialect::kAnthropic : Dialect::kOpenAi;
}

ApiError BadParam(absl::string_view param, absl::string_view message) {
  ApiError error;
  error.message = std::string(message);
  error.param = std::string(param);
  return error;
}

ApiError ModelNotFound(absl::string_view model) {
  ApiError error = BadParam("model", absl::StrCat("the model '", model, "' is not served here; see /v1/models"));
  error.status = 404;
  error.code = "model_not_found";
  return error;
}

ApiError FromStatus(const absl::Status& status) {
  ApiError error;
  error.message = std::string(status.message().empty() ? absl::StatusCodeToString(status.code()) : status.message());
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return error;
    case absl::StatusCode::kNotFound:
      error.status = 404;
      return error;
    case absl::StatusCode::kAlreadyExists:
      error.status = 409;
      return error;
    case absl::StatusCode::kPermissionDenied:
      error.status = 403;
      error.type = "permission_error";
      return error;
    case absl::StatusCode::kResourceExhausted:
      error.code = "queue_full";
      error.retry_after_s = RetryAfter(status);
      if (status.GetPayload(kTenantLimitPayload).has_value()) {
        error.status = 429;
        error.type = "rate_limit_error";
        error.code = "too_many_requests";
        return error;
      }
      break;
    case absl::StatusCode::kUnavailable:
      error.code = "not_ready";
      error.retry_after_s = 5;
      break;
    case absl::StatusCode::kDeadlineExceeded:
      error.code = "timeout";
      error.status = 504;
      error.type = "server_error";
      return error;
    default:
      break;
  }
  error.status = error.retry_after_s > 0 ? 503 : 500;
  error.type = "server_error";
  return error;
}

ApiError FromRefusal(const Refusal& refusal) {
  ApiError error;
  error.message = refusal.message;
  error.retry_after_s = refusal.retry_after_s;
  switch (refusal.why) {
    case Refusal::Why::kNoKey:
    case Refusal::Why::kUnknownKey:
      error.status = 401;
      error.code = "invalid_api_key";
      break;
    case Refusal::Why::kForbidden:
      error.status = 403;
      error.type = "permission_error";
      error.code = "forbidden";
      break;
    case Refusal::Why::kRate:
      error.status = 429;
      error.type = "rate_limit_error";
      error.code = "rate_limit_exceeded";
      break;
    case Refusal::Why::kQuota:
      error.status = 429;
      error.type = "insufficient_quota";
      error.code = "insufficient_quota";
      break;
  }
  return error;
}

std::string ErrorBody(const ApiError& error, Dialect dialect) {
  // Messages may quote bytes of the client, so broken UTF-8 is replaced, never thrown on.
  return ErrorJson(error, dialect).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

HttpReply ErrorReply(const ApiError& error, Dialect dialect) {
  HttpReply reply;
  reply.status = error.status;
  reply.body = ErrorBody(error, dialect);
  if (error.retry_after_s > 0) reply.headers.emplace_back("Retry-After", absl::StrCat(error.retry_after_s));
  if (error.status == 401) reply.headers.emplace_back("WWW-Authenticate", "Bearer");
  if (!error.allow.empty()) reply.headers.emplace_back("Allow", error.allow);
  return reply;
}

}  // namespace barn
