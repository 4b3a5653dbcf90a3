#include "coordinator/http/api.h"

#include <exception>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "coordinator/http/adapter_routes.h"
#include "coordinator/http/anthropic/anthropic_routes.h"
#include "coordinator/http/api_error.h"
#include "coordinator/http/embeddings/embedding_routes.h"
#include "coordinator/http/general_routes.h"
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
  return ReadyReply(state.ready ? "" : state.reason.empty() ? "not ready" : state.reason);
}

RouteResult Metrics(const ApiContext& context, const HttpRequest&) {
  return MetricsReply(MetricsText(context.metrics, context.engine.State(),
                                  context.gate == nullptr ? std::vector<KeyTotals>() : context.gate->Totals(),
                                  context.model.id));
}

RouteResult Usage(const ApiContext& context, const HttpRequest& request) { return UsageReply(context.gate, request); }

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
      context_(ApiContext{.model = *model_, .engine = engine, .metrics = metrics, .gate = gate}),
      gate_(gate),
      metrics_(metrics) {}

Api::Api(ModelDirectory& models, const HttpMetrics& metrics, AccessGate* gate)
    : gate_(gate), metrics_(metrics), models_(&models) {}

const DirectoryRoute* Api::FindDirectoryRoute(absl::string_view label, absl::string_view method) const {
  if (models_ == nullptr) return nullptr;
  const DirectoryRoute* other_method = nullptr;
  for (const DirectoryRoute& route : DirectoryRoutes()) {
    if (label != route.path) continue;
    if (method == route.method || (method == "HEAD" && route.method == "GET")) return &route;
    other_method = &route;
  }
  return other_method;
}

std::optional<HttpReply> Api::Admit(HttpRequest& request) const {
  const std::string label = RouteLabel(request.path);
  const DirectoryRoute* const of_all = FindDirectoryRoute(label, request.method);
  if (gate_ == nullptr) {
    // Where nobody needs a key, a page in a browser of this machine could still post here.
    if (of_all == nullptr || of_all->access != Access::kAdmin || request.origin.empty()) return std::nullopt;
    ApiError error;
    error.status = 403;
    error.type = "permission_error";
    error.message = "pages of a browser may not change models without an admin's key";
    return ErrorReply(error, DialectOf(request.path));
  }
  Access access = request.method == "POST" ? Access::kGenerate : Access::kRead;
  for (const ApiRoute& route : kRoutes) {
    if (label == route.path && route.access.has_value()) access = *route.access;
  }
  if (of_all != nullptr) access = of_all->access;
  auto verdict = gate_->Admit(request.secret, access, request.client, absl::Now());
  if (std::holds_alternative<Refusal>(verdict)) {
    return ErrorReply(FromRefusal(std::get<Refusal>(verdict)), DialectOf(request.path));
  }
  request.account = std::get<std::shared_ptr<const Account>>(std::move(verdict));
  return std::nullopt;
}

bool Api::TakesLong(const HttpRequest& request) { return request.path == "/v1/load_lora_adapter"; }

void Api::Close() const {
  const auto close = [](const ServedModel& model) {
    if (model.adapters != nullptr) model.adapters->Close();
  };
  if (models_ == nullptr) return close(*model_);
  for (const ListedModel& listed : models_->List()) {
    if (listed.opened != nullptr) close(*listed.opened);
  }
}

std::string Api::RouteLabel(absl::string_view path) const {
  const auto is = [path](absl::string_view route) {
    return path == route || (absl::EndsWith(route, "/") && absl::StartsWith(path, route));
  };
  if (models_ != nullptr) {
    for (const DirectoryRoute& route : DirectoryRoutes()) {
      if (is(route.path)) return std::string(route.path);
    }
  }
  for (const ApiRoute& route : kRoutes) {
    if (is(route.path)) return std::string(route.path);
  }
  return "other";
}

std::variant<ApiError, std::optional<ModelWish>> Api::Wish(const HttpRequest& request) const {
  if (models_ == nullptr) return std::nullopt;
  ModelNeed need = ModelNeed::kNothing;
  const std::string label = RouteLabel(request.path);
  if (const DirectoryRoute* route = FindDirectoryRoute(label, request.method)) {
    if (route->method == request.method) need = route->need;
  } else {
    for (const ApiRoute& route : kRoutes) {
      if (label != route.path || route.method != request.method) continue;
      const bool generates = route.access.value_or(Access::kGenerate) == Access::kGenerate && request.method == "POST";
      need = generates ? ModelNeed::kLoaded : ModelNeed::kOpened;
    }
  }
  if (need == ModelNeed::kNothing) return std::nullopt;
  std::variant<ApiError, ModelWish> wish = ReadWish(request, need);
  if (std::holds_alternative<ApiError>(wish)) return std::get<ApiError>(std::move(wish));
  ModelWish& wanted = std::get<ModelWish>(wish);
  wanted.look = !TakesLong(request);
  return std::move(wanted);
}

RouteResult Api::Handle(const HttpRequest& request, const ModelLease* lease) const {
  RouteResult result = Try(request, lease);
  if (!std::holds_alternative<ApiError>(result)) return result;
  return ErrorReply(std::get<ApiError>(result), DialectOf(request.path));
}

RouteResult Api::Try(const HttpRequest& request, const ModelLease* lease) const {
  RouteResult result;
  try {
    result = Route(request, lease);
    if (GenerationJob* job = std::get_if<GenerationJob>(&result); job != nullptr) {
      SetTenant(request.account, *job);
      const ServedModel& model = lease == nullptr ? *model_ : lease->model();
      if (model.adapters != nullptr && !job->requests.empty()) {
        job->model = model.adapters->NameOf(job->requests.front().adapters);
      }
    }
  } catch (const std::exception& failure) {  // Out of memory, or a bug in reading the request.
    result = FromStatus(absl::InternalError(absl::StrCat("cannot handle the request: ", failure.what())));
  }
  return result;
}

RouteResult Api::Route(const HttpRequest& request, const ModelLease* lease) const {
  const std::string label = RouteLabel(request.path);
  std::string allowed;
  const auto takes = [&request](absl::string_view method) {
    return request.method == method || (request.method == "HEAD" && method == "GET");
  };
  if (const DirectoryRoute* route = FindDirectoryRoute(label, request.method)) {
    if (takes(route->method)) {
      return route->handle({.models = *models_, .metrics = metrics_, .gate = gate_}, request, lease);
    }
    allowed = route->method == "GET" ? "GET, HEAD" : std::string(route->method);
  }
  std::string methods;
  for (const ApiRoute& route : kRoutes) {
    if (label != route.path || !allowed.empty()) continue;
    if (takes(route.method)) {
      if (models_ == nullptr) return route.handle(*context_, request);
      if (lease == nullptr) return BadParam("model", "this path is about one model, which the body must name");
      return route.handle({.model = lease->model(), .engine = lease->engine(), .metrics = metrics_, .gate = gate_},
                          request);
    }
    absl::StrAppend(&methods, methods.empty() ? "" : ", ", route.method == "GET" ? "GET, HEAD" : route.method);
  }
  if (allowed.empty()) allowed = std::move(methods);
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
