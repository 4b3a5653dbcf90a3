#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace barn {

// A request as the routes see it; no type of the HTTP library leaves the session.
struct HttpRequest {
  std::string method;  // "GET".
  std::string path;    // Without query, still percent-encoded.
  std::string body;
};

struct HttpReply {
  int status = 200;
  std::string content_type = "application/json; charset=utf-8";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;  // Besides Content-Type and Content-Length.
};

}  // namespace barn
