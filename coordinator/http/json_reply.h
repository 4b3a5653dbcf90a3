#pragma once

#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "coordinator/http/api_error.h"
#include "coordinator/http/http_message.h"
#include "coordinator/http/json_reader.h"

namespace barn {

// One line of JSON; broken UTF-8 is replaced, never thrown on.
inline std::string JsonText(const nlohmann::json& json) {
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

inline HttpReply JsonReply(const nlohmann::json& body, int status = 200) {
  HttpReply reply;
  reply.status = status;
  reply.body = JsonText(body);
  return reply;
}

// Parses the body and reads it into `request`; the error to send if that fails.
template <class Request>
std::optional<ApiError> ReadBody(const HttpRequest& http, Request& request,
                                 std::optional<ApiError> (*read)(const nlohmann::json&, Request&)) {
  const absl::StatusOr<nlohmann::json> body = ReadJson(http.body);
  return body.ok() ? read(*body, request) : FromStatus(body.status());
}

}  // namespace barn
