#include "coordinator/http/request_parser.h"

#include <array>

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/error.hpp>

#include "absl/strings/str_cat.h"

namespace barn {

namespace http = boost::beast::http;

void ApplyLimits(const RequestLimits& limits, RequestParser& parser) {
  parser.header_limit(limits.header_bytes_max);
  parser.body_limit(limits.body_bytes_max);
}

HttpRequest RequestHead(const RequestParser& parser) {
  HttpRequest request;
  request.method = std::string(parser.get().method_string());
  const auto target = parser.get().target();
  request.path = std::string(target.substr(0, target.find('?')));
  return request;
}

ApiError FromParseError(const boost::system::error_code& error, const RequestLimits& limits) {
  ApiError result;
  if (error == http::error::body_limit) {
    result.status = 413;
    result.code = "body_too_large";
    result.message = absl::StrCat("the body is longer than ", limits.body_bytes_max, " bytes");
  } else if (error == http::error::header_limit || error == http::error::buffer_overflow) {
    result.status = 431;
    result.code = "header_too_large";
    result.message = absl::StrCat("the request header is longer than ", limits.header_bytes_max, " bytes");
  } else {
    result.message = absl::StrCat("not a valid HTTP/1.1 request: ", error.message());
  }
  return result;
}

std::pair<HttpRequest, std::optional<ApiError>> ParseRequest(absl::string_view bytes, const RequestLimits& limits) {
  RequestParser parser;
  ApplyLimits(limits, parser);
  boost::system::error_code error;
  std::string body;
  std::array<char, 4096> part;
  while (!parser.is_done()) {
    parser.get().body().data = part.data();
    parser.get().body().size = part.size();
    const size_t used = parser.put(boost::asio::buffer(bytes.data(), bytes.size()), error);
    bytes.remove_prefix(used);
    const size_t got = part.size() - parser.get().body().size;
    if (parser.is_header_done()) body.append(part.data(), got);
    if (error == http::error::need_buffer) error = {};
    if (error || (used == 0 && got == 0)) break;
  }
  if (!error && !parser.is_done()) error = http::error::partial_message;
  HttpRequest request;
  if (parser.is_header_done()) request = RequestHead(parser);
  request.body = std::move(body);
  if (error) return {std::move(request), FromParseError(error, limits)};
  return {std::move(request), std::nullopt};
}

}  // namespace barn
