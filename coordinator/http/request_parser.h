#pragma once

#include <cstdint>
#include <optional>
#include <utility>

#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>

#include "absl/strings/string_view.h"
#include "coordinator/http/api_error.h"
#include "coordinator/http/http_message.h"

namespace barn {

struct RequestLimits {
  uint32_t header_bytes_max = 16 * 1024;
  uint64_t body_bytes_max = 32 * 1024 * 1024;
};

// The parser that sessions and the fuzzer share. The body goes through a small buffer of the caller, so that a length
// that the client only claims allocates nothing.
using RequestParser = boost::beast::http::request_parser<boost::beast::http::buffer_body>;

void ApplyLimits(const RequestLimits& limits, RequestParser& parser);

// What a parsed header says.
HttpRequest RequestHead(const RequestParser& parser);

// How a failed read is told to the client: 413, 431 or 400. Only for errors of the HTTP grammar.
ApiError FromParseError(const boost::system::error_code& error, const RequestLimits& limits);

// Parses one whole request from memory, as a session does from a socket. The error is what the client would see; 400
// when the bytes end early.
std::pair<HttpRequest, std::optional<ApiError>> ParseRequest(absl::string_view bytes, const RequestLimits& limits = {});

}  // namespace barn
