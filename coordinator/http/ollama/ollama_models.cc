#include "coordinator/http/ollama/ollama_models.h"

#include <string>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "coordinator/http/fields.h"
#include "coordinator/http/generation_job.h"
#include "coordinator/http/json_reply.h"
#include "coordinator/http/ollama/ollama_request.h"
#include "coordinator/http/openai_request.h"

namespace barn {
namespace {

using Json = nlohmann::json;

ApiError Refused(int status, std::string message) {
  ApiError error;
  error.status = status;
  error.message = std::move(message);
  return error;
}

// The name in the field `field`; older clients say "name" for "model".
std::variant<ApiError, std::string> ReadName(const HttpRequest& request, absl::string_view field, bool& stream) {
  if (request.body.empty()) return BadParam("body", "missing request body");
  const absl::StatusOr<Json> body = ReadJson(request.body);
  if (!body.ok()) return FromStatus(body.status());
  if (!body->is_object()) return NotAnObject(*body);
  Fields fields(*body);
  stream = fields.Bool("stream", true);
  std::string name = fields.String(field, field == "model" ? fields.String("name", "") : "");
  if (name.empty()) fields.Fail(field, "is required");
  if (!fields.ok()) return *fields.error();
  return OllamaModelName(std::move(name));
}

// `refuse` says why the server will not do so with a model that it serves, or has none to do it with.
template <class Refuse>
RouteResult AboutModel(const ApiContext& context, const HttpRequest& request, absl::string_view field,
                       const Refuse& refuse) {
  bool stream = true;
  std::variant<ApiError, std::string> name = ReadName(request, field, stream);
  if (std::holds_alternative<ApiError>(name)) return std::get<ApiError>(std::move(name));
  const auto& wanted = std::get<std::string>(name);
  return refuse(wanted, Serves(context.model, wanted), stream);
}

ApiError NotHere(const std::string& name) { return Refused(404, absl::StrCat("model '", name, "' not found")); }

}  // namespace

RouteResult OllamaPull(const ApiContext& context, const HttpRequest& request) {
  return AboutModel(context, request, "model", [&](const std::string& name, bool served, bool stream) -> RouteResult {
    if (!served) {
      return Refused(501, absl::StrCat("model '", name, "' cannot be pulled: this server serves '", context.model.id,
                                       "', with which it was started; start one with the other model"));
    }
    HttpReply reply = JsonReply({{"status", "success"}});
    if (stream) {
      reply.content_type = "application/x-ndjson";
      reply.body += '\n';
    }
    return reply;
  });
}

RouteResult OllamaPush(const ApiContext& context, const HttpRequest& request) {
  return AboutModel(context, request, "model", [](const std::string& name, bool served, bool) -> RouteResult {
    if (!served) return NotHere(name);
    return Refused(501, absl::StrCat("model '", name, "' cannot be pushed: this server publishes nothing"));
  });
}

RouteResult OllamaCreate(const ApiContext& context, const HttpRequest& request) {
  return AboutModel(context, request, "model", [](const std::string& name, bool, bool) -> RouteResult {
    return Refused(501, absl::StrCat("model '", name,
                                     "' cannot be created: this server serves the model with which it "
                                     "was started; its template and system prompt belong to requests"));
  });
}

RouteResult OllamaCopy(const ApiContext& context, const HttpRequest& request) {
  return AboutModel(context, request, "source", [](const std::string& name, bool served, bool) -> RouteResult {
    if (!served) return NotHere(name);
    return Refused(501, absl::StrCat("model '", name, "' cannot be copied: this server gives a model no second name"));
  });
}

RouteResult OllamaDelete(const ApiContext& context, const HttpRequest& request) {
  return AboutModel(context, request, "model", [](const std::string& name, bool served, bool) -> RouteResult {
    if (!served) return NotHere(name);
    return Refused(409, absl::StrCat("model '", name, "' cannot be deleted: this server serves it"));
  });
}

}  // namespace barn
