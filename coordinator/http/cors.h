#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "coordinator/http/http_message.h"

namespace barn {

using HeaderList = std::vector<std::pair<std::string, std::string>>;

// Lets pages of some origins read replies (fetch.spec.whatwg.org, "CORS protocol"). `origins`: as browsers write them,
// "https://chat.example.org", or "*" for all. Empty when the origin is not among them.
HeaderList CorsHeaders(const std::vector<std::string>& origins, absl::string_view origin);

// Whether it asks what the page may send, before the page's own request.
bool IsPreflight(const HttpRequest& request);
HttpReply PreflightReply(const HttpRequest& request);  // CorsHeaders come on top.

}  // namespace barn
