#pragma once

#include <string>

#include "coordinator/accounts/access_gate.h"
#include "coordinator/http/answer.h"
#include "coordinator/http/http_message.h"

namespace barn {

// Replies that are the same for one model and for several.

// 503 with the reason, unless that is "".
HttpReply ReadyReply(const std::string& not_ready);

// The Prometheus text format.
HttpReply MetricsReply(std::string text);

// GET /v1/usage: what the asking key, or an admin's server, has used in the last 31 days. 404 without keys.
RouteResult UsageReply(AccessGate* gate, const HttpRequest& request);

}  // namespace barn
