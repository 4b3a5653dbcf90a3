#include "coordinator/http/api.h"

#include <exception>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "coordinator/accounts/usage_json.h"
#include "coordinator/http/adapter_routes.h"
#include "coordinator/http/anthropic/anthropic_routes.h"
#include "coordinator/http/api_error.h"
#include "coordinator/http/embeddings/embedding_routes.h"
#include "coordinator/http/json_reply.h"
#include "coordinator/http/native/native_routes.h"
#include "coordinator/http/ollama/ollama_models.h"
#include "coordinator/http/ollama/ollama_routes.h"
#include "coordinator/http/openai_routes.h"
#include "coordinator/http/responses/response_routes.h"
#include "coordinator/http/served_adapters.h"
#include "coordinator/http/text_routes.h"

namespace barn {
namespace {

RouteResult Health(const ApiContext&, const HttpRequest&) { return JsonReply({{"status", "ok"}}); }

RouteResult Ready(const ApiContext& context, const HttpRequest&) {
  const EngineState state = context.engine.State();
  if (state.ready) return JsonReply({{"ready", true}});
  HttpReply reply = JsonReply({{"ready", false}, {"reason", state.reason}}, 503);
  reply.headers.emplace_back("Retry-After", "1");
  return reply;
}

RouteResult Metrics(const ApiContext& context, const HttpRequest&) {
  HttpReply reply;
  reply.content_type = "text/plain; version=0.0.4; charset=utf-8";
  reply.body =
      MetricsText(context.metrics, context.engine.State(),
                  context.gate == nullptr ? std::vector<KeyTotals>() : context.gate->Totals(), context.model.id);
  return reply;
}

RouteResult Usage(const ApiContext& context, const HttpRequest& request) {
  if (request.account == nullptr) {
    ApiError error;
    error.status = 404;
    error.code = "no_keys";
    error.message = "this server asks nobody for a key, so it keeps no account";
    return error;
  }
  constexpr int64_t kDays = 31;
  const auto rows = context.gate->Usage(*request.account, DayOf(absl::Now()) - kDays + 1);
  if (!rows.ok()) return FromStatus(absl::InternalError(rows.status().message()));
  nlohmann::json data = nlohmann::json::array();
  for (const UsageRow& row : *rows) data.push_back(UsageJson(row));
  return JsonReply({{"object", "list"}, {"days", kDays}, {"data", std::move(data)}});
}

void SetTenant(const std::shared_ptr<const Account>& account, GenerationJob& job) {
  if (account == nullptr) return;
  for (GenerateRequest& request : job.requests) {
    request.tenant = {.name = account->name,
                      .weight = static_cast<int>(account->limits.weight),
                      .priority = static_cast<int>(account->limits.priority)};
  }
}

ServedModel WithGrammars(ServedModel model) {
  if (model.grammars == nullptr) model.grammars = std::make_shared<grammar::GrammarCache>(model.tokenizer);
  return model;
}

// A path may stand here once for each of its methods.
constexpr ApiRoute kRoutes[] = {
    {"/health", "GET", &Health, Access::kPublic},
    {"/ready", "GET", &Ready, Access::kPublic},
    {"/metrics", "GET", &Metrics, Access::kMetrics},
    {"/tokenize", "POST", &Tokenize, Access::kRead},
    {"/detokenize", "POST", &Detokenize, Access::kRead},
    {"/apply-template", "POST", &ApplyTemplate, Access::kRead},
    {"/completion", "POST", &NativeCompletion},
    {"/infill", "POST", &NativeInfill},
    {"/lora-adapters", "GET", &LoraAdapters},
    {"/lora-adapters", "POST", &SetLoraAdapters, Access::kRead},
    {"/v1/load_lora_adapter", "POST", &LoadLoraAdapter, Access::kRead},
    {"/v1/unload_lora_adapter", "POST", &UnloadLoraAdapter, Access::kRead},
    {"/v1/usage", "GET", &Usage},
    {"/v1/models", "GET", &OpenAiModels},
    {"/v1/models/", "GET", &OpenAiModel},
    {"/v1/completions", "POST", &OpenAiCompletion},
    {"/v1/chat/completions", "POST", &OpenAiChat},
    {"/v1/responses", "POST", &OpenAiResponse},
    {"/v1/embeddings", "POST", &OpenAiEmbed},
    {"/v1/rerank", "POST", &Rerank},
    {"/rerank", "POST", &Rerank},
    {"/api/embed", "POST", &OllamaEmbedRoute},
    {"/api/embeddings", "POST", &OllamaEmbeddingsRoute},
    {"/api/chat", "POST", &OllamaChat},
    {"/api/copy", "POST", &OllamaCopy, Access::kRead},
    {"/api/create", "POST", &OllamaCreate, Access::kRead},
    {"/api/delete", "DELETE", &OllamaDelete},
    {"/api/generate", "POST", &OllamaGenerate},
    {"/api/ps", "GET", &OllamaRunning},
    {"/api/pull", "POST", &OllamaPull, Access::kRead},
    {"/api/push", "POST", &OllamaPush, Access::kRead},
    {"/api/show", "POST", &OllamaShow, Access::kRead},
    {"/api/tags", "GET", &OllamaTags},
    {"/api/version", "GET", &OllamaVersion},
    {"/v1/messages", "POST", &AnthropicMessages},
    {"/v1/messages/count_tokens", "POST", &AnthropicCountTokens, Access::kRead},
};

}  // namespace

Api::Api(ServedModel model, const Engine& engine, const HttpMetrics& metrics, AccessGate* gate)
    : model_(WithGrammars(std::move(model))),
      engine_(engine),
      metrics_(metrics),
      context_{.model = model_, .engine = engine_, .metrics = metrics_, .gate = gate} {}

std::optional<HttpReply> Api::Admit(HttpRequest& request) const {
  if (context_.gate == nullptr) return std::nullopt;
  Access access = request.method == "POST" ? Access::kGenerate : Access::kRead;
  const std::string label = RouteLabel(request.path);
  for (const ApiRoute& route : kRoutes) {
    if (label == route.path && route.access.has_value()) access = *route.access;
  }
  auto verdict = context_.gate->Admit(request.secret, access, request.client, absl::Now());
  if (std::holds_alternative<Refusal>(verdict)) {
    return ErrorReply(FromRefusal(std::get<Refusal>(verdict)), DialectOf(request.path));
  }
  request.account = std::get<std::shared_ptr<const Account>>(std::move(verdict));
  return std::nullopt;
}

bool Api::TakesLong(const HttpRequest& request) { return request.path == "/v1/load_lora_adapter"; }

void Api::Close() const {
  if (model_.adapters != nullptr) model_.adapters->Close();
}

std::string Api::RouteLabel(absl::string_view path) const {
  for (const ApiRoute& route : kRoutes) {
    if (path == route.path || (absl::EndsWith(route.path, "/") && absl::StartsWith(path, route.path))) {
      return std::string(route.path);
    }
  }
  return "other";
}

RouteResult Api::Handle(const HttpRequest& request) const {
  RouteResult result;
  try {
    result = Route(request);
    if (GenerationJob* job = std::get_if<GenerationJob>(&result); job != nullptr) {
      SetTenant(request.account, *job);
      if (model_.adapters != nullptr && !job->requests.empty()) {
        job->model = model_.adapters->NameOf(job->requests.front().adapters);
      }
    }
  } catch (const std::exception& failure) {  // Out of memory, or a bug in reading the request.
    result = FromStatus(absl::InternalError(absl::StrCat("cannot handle the request: ", failure.what())));
  }
  if (!std::holds_alternative<ApiError>(result)) return result;
  return ErrorReply(std::get<ApiError>(result), DialectOf(request.path));
}

RouteResult Api::Route(const HttpRequest& request) const {
  const std::string label = RouteLabel(request.path);
  std::string allowed;
  for (const ApiRoute& route : kRoutes) {
    if (label != route.path) continue;
    const bool head = request.method == "HEAD" && route.method == "GET";
    if (request.method == route.method || head) return route.handle(context_, request);
    absl::StrAppend(&allowed, allowed.empty() ? "" : ", ", route.method == "GET" ? "GET, HEAD" : route.method);
  }
  ApiError error;
  error.status = allowed.empty() ? 404 : 405;
  if (allowed.empty()) {
    error.code = "unknown_path";
    error.message = absl::StrCat("there is nothing at ", request.path);
  } else {
    error.allow = allowed;
    error.message = absl::StrCat(request.path, " takes ", allowed, ", not ", request.method);
  }
  return error;
}

}  // namespace barn
