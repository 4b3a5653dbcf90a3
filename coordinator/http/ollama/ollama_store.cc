#include "coordinator/http/ollama/ollama_store.h"

#include <algorithm>
#include <initializer_list>
#include <string>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "coordinator/http/api_error.h"
#include "coordinator/http/fields.h"
#include "coordinator/http/json_reply.h"
#include "coordinator/http/ollama/ollama_answer.h"
#include "coordinator/http/ollama/ollama_entry.h"
#include "coordinator/http/openai_request.h"

namespace barn {
namespace {

using Json = nlohmann::json;

std::variant<ApiError, Json> ReadObject(const HttpRequest& request) {
  if (request.body.empty()) return BadParam("body", "missing request body");
  absl::StatusOr<Json> body = ReadJson(request.body);
  if (!body.ok()) return FromStatus(body.status());
  if (!body->is_object()) return NotAnObject(*body);
  return *std::move(body);
}

// One object, or as lines of a stream, which the dialect has here unless the client says otherwise.
HttpReply Progress(const HttpRequest& request, std::initializer_list<std::string> steps) {
  const absl::StatusOr<Json> body = ReadJson(request.body);
  const bool stream = !body.ok() || !body->contains("stream") || body->at("stream") != false;
  if (!stream) return JsonReply({{"status", "success"}});
  HttpReply reply;
  reply.content_type = "application/x-ndjson";
  for (const std::string& step : steps) absl::StrAppend(&reply.body, JsonText({{"status", step}}), "\n");
  absl::StrAppend(&reply.body, JsonText({{"status", "success"}}), "\n");
  return reply;
}

Json Entry(const ListedModel& listed) {
  Json entry = OllamaModelEntry(listed.id, listed.facts);
  entry["modified_at"] = OllamaTime(absl::FromUnixSeconds(listed.created));
  return entry;
}

RouteResult Done(const absl::Status& status) {
  if (!status.ok()) return FromStatus(status);
  HttpReply reply;
  reply.content_type = "text/plain; charset=utf-8";
  return reply;
}

}  // namespace

RouteResult StoreTags(const DirectoryContext& context, const HttpRequest&, const ModelLease*) {
  Json models = Json::array();
  for (const ListedModel& listed : context.models.List()) {
    Json entry = Entry(listed);
    if (listed.opened != nullptr) entry["capabilities"] = OllamaCapabilities(*listed.opened);
    models.push_back(std::move(entry));
  }
  return JsonReply({{"models", std::move(models)}});
}

RouteResult StoreRunning(const DirectoryContext& context, const HttpRequest&, const ModelLease*) {
  Json models = Json::array();
  const absl::Time now = absl::Now();
  for (const ListedModel& listed : context.models.List()) {
    if (listed.standing.phase != ModelStanding::Phase::kReady) continue;
    Json entry = Entry(listed);
    entry.erase("modified_at");
    entry["size"] = listed.standing.memory_bytes;
    entry["size_vram"] = 0;
    entry["context_length"] = listed.standing.engine.context_tokens_max;
    // The dialect wants a time also of what stays, or is in use.
    entry["expires_at"] = OllamaTime(std::min(listed.standing.expires, now + absl::Hours(24 * 365)));
    models.push_back(std::move(entry));
  }
  return JsonReply({{"models", std::move(models)}});
}

RouteResult StoreVersion(const DirectoryContext& context, const HttpRequest&, const ModelLease*) {
  return JsonReply({{"version", context.models.server_version()}});
}

RouteResult StoreCopy(const DirectoryContext& context, const HttpRequest& request, const ModelLease*) {
  std::variant<ApiError, Json> body = ReadObject(request);
  if (std::holds_alternative<ApiError>(body)) return std::get<ApiError>(std::move(body));
  Fields fields(std::get<Json>(body));
  const std::string source = fields.String("source", ""), name = fields.String("destination", "");
  if (source.empty()) fields.Fail("source", "is required");
  if (name.empty()) fields.Fail("destination", "is required");
  if (!fields.ok()) return *fields.error();
  return Done(context.models.Copy(source, name));
}

RouteResult StoreDelete(const DirectoryContext& context, const HttpRequest& request, const ModelLease*) {
  std::variant<ApiError, Json> body = ReadObject(request);
  if (std::holds_alternative<ApiError>(body)) return std::get<ApiError>(std::move(body));
  Fields fields(std::get<Json>(body));
  const std::string name = fields.String("model", fields.String("name", ""));
  if (name.empty()) fields.Fail("model", "is required");
  if (!fields.ok()) return *fields.error();
  return Done(context.models.Delete(name));
}

RouteResult StorePush(const DirectoryContext&, const HttpRequest&, const ModelLease*) {
  ApiError error;
  error.status = 501;
  error.message = "this server publishes no models";
  return error;
}

RouteResult StoreCreated(const DirectoryContext&, const HttpRequest& request, const ModelLease* lease) {
  std::variant<ApiError, Json> body = ReadObject(request);
  if (std::holds_alternative<ApiError>(body)) return std::get<ApiError>(std::move(body));
  return Progress(request, {absl::StrCat("reading ", lease->model().id), "writing manifest"});
}

RouteResult StorePulled(const DirectoryContext&, const HttpRequest& request, const ModelLease*) {
  return Progress(request, {"pulling manifest", "verifying header", "writing manifest"});
}

}  // namespace barn
