#include "coordinator/http/request_parser.h"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/error.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace barn {

namespace http = boost::beast::http;

namespace {

constexpr size_t kRequestIdBytesMax = 128;
constexpr size_t kOriginBytesMax = 256;
constexpr size_t kAskedHeadersBytesMax = 1024;

absl::string_view Header(const RequestParser& parser, absl::string_view name) {
  const auto value = parser.get()[boost::beast::string_view(name.data(), name.size())];
  return {value.data(), value.size()};
}

// A value that may go into a reply's header and into a log line as it is; "" for any other.
std::string Plain(absl::string_view value, size_t bytes_max) {
  const bool plain = value.size() <= bytes_max && std::all_of(value.begin(), value.end(), [](char c) {
                       return absl::ascii_isalnum(static_cast<unsigned char>(c)) || absl::StrContains("-_.:/, []*", c);
                     });
  return plain ? std::string(value) : "";
}

// version "-" trace-id "-" parent-id "-" flags in lower-case hexadecimal digits, neither id zero
// (w3.org/TR/trace-context).
std::string TraceParent(absl::string_view value) {
  const std::vector<absl::string_view> parts = absl::StrSplit(value, '-');
  const bool hex = std::all_of(value.begin(), value.end(), [](char c) {
    return c == '-' || absl::ascii_isdigit(static_cast<unsigned char>(c)) || (c >= 'a' && c <= 'f');
  });
  const bool sizes = parts.size() == 4 && parts[0].size() == 2 && parts[1].size() == 32 && parts[2].size() == 16 &&
                     parts[3].size() == 2;
  if (!hex || !sizes || parts[0] == "ff") return "";
  const auto zero = [](absl::string_view id) { return id.find_first_not_of('0') == absl::string_view::npos; };
  return zero(parts[1]) || zero(parts[2]) ? "" : std::string(value);
}

// Of "respond-async, wait=10": 10. -1: no such preference.
int64_t PreferredWait(absl::string_view value) {
  for (const absl::string_view part : absl::StrSplit(value, absl::ByAnyChar(",;"))) {
    const absl::string_view preference = absl::StripAsciiWhitespace(part);
    int64_t seconds = 0;
    if (absl::StartsWithIgnoreCase(preference, "wait=") && absl::SimpleAtoi(preference.substr(5), &seconds)) {
      return std::clamp<int64_t>(seconds, 0, 24 * 3600);
    }
  }
  return -1;
}

std::string Secret(const RequestParser& parser) {
  const absl::string_view authorization = Header(parser, "authorization");
  if (absl::StartsWithIgnoreCase(authorization, "bearer ")) {
    return std::string(absl::StripAsciiWhitespace(authorization.substr(7)));
  }
  return std::string(Header(parser, "x-api-key"));
}

}  // namespace

void ApplyLimits(const RequestLimits& limits, RequestParser& parser) {
  parser.header_limit(limits.header_bytes_max);
  parser.body_limit(limits.body_bytes_max);
}

HttpRequest RequestHead(const RequestParser& parser) {
  HttpRequest request;
  request.method = std::string(parser.get().method_string());
  const auto target = parser.get().target();
  request.path = std::string(target.substr(0, target.find('?')));
  request.secret = Secret(parser);
  request.id = Plain(Header(parser, "x-request-id"), kRequestIdBytesMax);
  request.traceparent = TraceParent(Header(parser, "traceparent"));
  request.wait_s = PreferredWait(Header(parser, "prefer"));
  request.origin = Plain(Header(parser, "origin"), kOriginBytesMax);
  request.asks_for_method = !Header(parser, "access-control-request-method").empty();
  request.asks_for_headers = Plain(Header(parser, "access-control-request-headers"), kAskedHeadersBytesMax);
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
