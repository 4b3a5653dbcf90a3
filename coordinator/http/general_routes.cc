#include "coordinator/http/general_routes.h"

#include <utility>

#include "absl/time/clock.h"
#include "coordinator/accounts/usage_json.h"
#include "coordinator/http/api_error.h"
#include "coordinator/http/json_reply.h"

namespace barn {

HttpReply ReadyReply(const std::string& not_ready) {
  if (not_ready.empty()) return JsonReply({{"ready", true}});
  HttpReply reply = JsonReply({{"ready", false}, {"reason", not_ready}}, 503);
  reply.headers.emplace_back("Retry-After", "1");
  return reply;
}

HttpReply MetricsReply(std::string text) {
  HttpReply reply;
  reply.content_type = "text/plain; version=0.0.4; charset=utf-8";
  reply.body = std::move(text);
  return reply;
}

RouteResult UsageReply(AccessGate* gate, const HttpRequest& request) {
  if (request.account == nullptr) {
    ApiError error;
    error.status = 404;
    error.code = "no_keys";
    error.message = "this server asks nobody for a key, so it keeps no account";
    return error;
  }
  constexpr int64_t kDays = 31;
  const auto rows = gate->Usage(*request.account, DayOf(absl::Now()) - kDays + 1);
  if (!rows.ok()) return FromStatus(absl::InternalError(rows.status().message()));
  nlohmann::json data = nlohmann::json::array();
  for (const UsageRow& row : *rows) data.push_back(UsageJson(row));
  return JsonReply({{"object", "list"}, {"days", kDays}, {"data", std::move(data)}});
}

}  // namespace barn
