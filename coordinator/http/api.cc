#include "coordinator/http/api.h"

#include <exception>
#include <utility>

#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "coordinator/http/api_error.h"
#include "coordinator/http/json_reader.h"
#include "coordinator/http/openai_job.h"
#include "coordinator/http/openai_request.h"
#include "coordinator/http/url.h"

namespace barn {
namespace {

using Json = nlohmann::json;

constexpr absl::string_view kModelsPrefix = "/v1/models/";

HttpReply JsonReply(const Json& body, int status = 200) {
  HttpReply reply;
  reply.status = status;
  reply.body = body.dump(-1, ' ', false, Json::error_handler_t::replace);
  return reply;
}

std::string ChatTemplateState(const ServedModel& model) {
  if (!model.chat_template_error.empty()) return absl::StrCat("cannot be used: ", model.chat_template_error);
  return model.chat_template != nullptr ? "the model's own" : "plain role prefixes (the model brings none)";
}

Json ModelEntry(const ServedModel& model, const EngineState& engine) {
  return {{"id", model.id},
          {"object", "model"},
          {"created", model.created},
          {"owned_by", "barn"},
          {"barn", {{"chat_template", ChatTemplateState(model)}, {"context_tokens", ContextTokens(model, engine)}}}};
}

// Parses the body and reads it into `request`; the error to send if that fails.
template <class Request>
std::optional<ApiError> ReadBody(const HttpRequest& http, Request& request,
                                 std::optional<ApiError> (*read)(const Json&, Request&)) {
  const absl::StatusOr<Json> body = ReadJson(http.body);
  return body.ok() ? read(*body, request) : FromStatus(body.status());
}

RouteResult ToResult(JobResult job) {
  if (std::holds_alternative<ApiError>(job)) return ErrorReply(std::get<ApiError>(job));
  return std::move(std::get<GenerationJob>(job));
}

}  // namespace

const Api::Route Api::kRoutes[] = {
    {"/health", "GET", &Api::Health},
    {"/ready", "GET", &Api::Ready},
    {"/metrics", "GET", &Api::Metrics},
    {"/v1/models", "GET", &Api::Models},
    {"/v1/models/", "GET", &Api::OneModel},
    {"/v1/completions", "POST", &Api::Complete},
    {"/v1/chat/completions", "POST", &Api::Chat},
};

Api::Api(ServedModel model, const Engine& engine, const HttpMetrics& metrics)
    : model_(std::move(model)), engine_(engine), metrics_(metrics) {}

std::string Api::RouteLabel(absl::string_view path) const {
  for (const Route& route : kRoutes) {
    if (path == route.path || (absl::EndsWith(route.path, "/") && absl::StartsWith(path, route.path))) {
      return std::string(route.path);
    }
  }
  return "other";
}

RouteResult Api::Handle(const HttpRequest& request) const {
  ApiError error;
  const std::string label = RouteLabel(request.path);
  for (const Route& route : kRoutes) {
    if (label != route.path) continue;
    const bool head = request.method == "HEAD" && route.method == "GET";
    if (request.method != route.method && !head) {
      error.status = 405;
      error.allow = route.method == "GET" ? "GET, HEAD" : std::string(route.method);
      error.message = absl::StrCat(request.path, " takes ", error.allow, ", not ", request.method);
      return ErrorReply(error);
    }
    try {
      return (this->*route.handle)(request);
    } catch (const std::exception& failure) {  // Out of memory, or a bug in reading the request.
      return ErrorReply(FromStatus(absl::InternalError(absl::StrCat("cannot handle the request: ", failure.what()))));
    }
  }
  error.status = 404;
  error.code = "unknown_path";
  error.message = absl::StrCat("there is nothing at ", request.path);
  return ErrorReply(error);
}

RouteResult Api::Health(const HttpRequest&) const { return JsonReply({{"status", "ok"}}); }

RouteResult Api::Ready(const HttpRequest&) const {
  const EngineState state = engine_.State();
  if (state.ready) return JsonReply({{"ready", true}});
  HttpReply reply = JsonReply({{"ready", false}, {"reason", state.reason}}, 503);
  reply.headers.emplace_back("Retry-After", "1");
  return reply;
}

RouteResult Api::Metrics(const HttpRequest&) const {
  HttpReply reply;
  reply.content_type = "text/plain; version=0.0.4; charset=utf-8";
  reply.body = MetricsText(metrics_, engine_.State(), model_.id);
  return reply;
}

RouteResult Api::Models(const HttpRequest&) const {
  return JsonReply({{"object", "list"}, {"data", Json::array({ModelEntry(model_, engine_.State())})}});
}

RouteResult Api::OneModel(const HttpRequest& request) const {
  const std::string id = PercentDecode(absl::string_view(request.path).substr(kModelsPrefix.size()));
  if (!Serves(model_, id)) return ErrorReply(ModelNotFound(id));
  return JsonReply(ModelEntry(model_, engine_.State()));
}

RouteResult Api::Complete(const HttpRequest& request) const {
  CompletionRequest parsed;
  if (auto error = ReadBody(request, parsed, &ReadCompletionRequest)) return ErrorReply(*error);
  return ToResult(CompletionJob(model_, engine_.State(), std::move(parsed)));
}

RouteResult Api::Chat(const HttpRequest& request) const {
  ChatRequest parsed;
  if (auto error = ReadBody(request, parsed, &ReadChatRequest)) return ErrorReply(*error);
  if (model_.chat_template != nullptr) {
    if (auto error = ReadTemplateInputs(request.body, parsed)) return ErrorReply(*error);
  }
  return ToResult(ChatJob(model_, engine_.State(), std::move(parsed)));
}

}  // namespace barn
