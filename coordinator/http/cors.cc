#include "coordinator/http/cors.h"

#include <algorithm>

namespace barn {

HeaderList CorsHeaders(const std::vector<std::string>& origins, absl::string_view origin) {
  if (origin.empty()) return {};
  const bool all = std::find(origins.begin(), origins.end(), "*") != origins.end();
  if (!all && std::find(origins.begin(), origins.end(), origin) == origins.end()) return {};
  return {{"Access-Control-Allow-Origin", all ? "*" : std::string(origin)},
          {"Access-Control-Expose-Headers", "x-request-id, retry-after"},
          {"Vary", "Origin"}};
}

bool IsPreflight(const HttpRequest& request) {
  return request.method == "OPTIONS" && !request.origin.empty() && request.asks_for_method;
}

HttpReply PreflightReply(const HttpRequest& request) {
  HttpReply reply;
  reply.headers = {{"Access-Control-Allow-Methods", "GET, POST, DELETE"}, {"Access-Control-Max-Age", "600"}};
  if (!request.asks_for_headers.empty()) {
    reply.headers.emplace_back("Access-Control-Allow-Headers", request.asks_for_headers);
  }
  return reply;
}

}  // namespace barn
