#include "coordinator/http/openai_routes.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/http/json_reply.h"
#include "coordinator/http/openai_job.h"
#include "coordinator/http/openai_request.h"
#include "coordinator/http/served_adapters.h"
#include "coordinator/http/url.h"

namespace barn {
namespace {

using Json = nlohmann::json;

constexpr absl::string_view kModelsPrefix = "/v1/models/";

std::string ChatTemplateState(const ServedModel& model) {
  if (!model.chat_template_error.empty()) return absl::StrCat("cannot be used: ", model.chat_template_error);
  return model.chat_template != nullptr ? "the model's own" : "plain role prefixes (the model brings none)";
}

RouteResult ToResult(JobResult job) {
  if (std::holds_alternative<ApiError>(job)) return std::get<ApiError>(std::move(job));
  return std::move(std::get<GenerationJob>(job));
}

}  // namespace

nlohmann::json OpenAiModelEntry(const ServedModel& model, const EngineState& engine) {
  const bool tools = model.chat_template != nullptr && model.chat_template->knows_tools();
  const bool reasons = model.chat_template != nullptr && model.chat_template->format().reasons();
  return {{"id", model.id},
          {"object", "model"},
          {"created", model.created},
          {"owned_by", "barn"},
          {"barn",
           {{"chat_template", ChatTemplateState(model)},
            {"context_tokens", ContextTokens(model, engine)},
            {"generates", !model.facts.embedding.encoder},
            {"embedding_length", model.facts.embedding.width},
            {"reranks", model.facts.embedding.scores},
            {"tools", tools},
            {"reasoning", reasons}}}};
}

// As vLLM lists them.
Json OpenAiAdapterEntry(const ServedModel& model, const ServedAdapter& adapter) {
  return {{"id", adapter.name},
          {"object", "model"},
          {"created", adapter.created},
          {"owned_by", "barn"},
          {"parent", model.id},
          {"root", model.id},
          {"barn", {{"lora", {{"id", adapter.number}, {"scale", adapter.scale}, {"ready", adapter.ready}}}}}};
}

RouteResult OpenAiModels(const ApiContext& context, const HttpRequest&) {
  Json data = Json::array({OpenAiModelEntry(context.model, context.engine.State())});
  if (context.model.adapters != nullptr) {
    for (const ServedAdapter& adapter : context.model.adapters->List()) {
      data.push_back(OpenAiAdapterEntry(context.model, adapter));
    }
  }
  return JsonReply({{"object", "list"}, {"data", std::move(data)}});
}

RouteResult OpenAiModel(const ApiContext& context, const HttpRequest& request) {
  const std::string id = PercentDecode(absl::string_view(request.path).substr(kModelsPrefix.size()));
  if (!Serves(context.model, id)) return ModelNotFound(id);
  const auto adapter = context.model.adapters != nullptr ? context.model.adapters->Find(id) : std::nullopt;
  if (adapter.has_value()) return JsonReply(OpenAiAdapterEntry(context.model, *adapter));
  return JsonReply(OpenAiModelEntry(context.model, context.engine.State()));
}

RouteResult OpenAiCompletion(const ApiContext& context, const HttpRequest& request) {
  CompletionRequest parsed;
  if (auto error = ReadBody(request, parsed, &ReadCompletionRequest)) return *error;
  if (auto error = ReadSchema(request.body, parsed.shared.form)) return *error;
  return ToResult(CompletionJob(context.model, context.engine.State(), std::move(parsed)));
}

RouteResult OpenAiChat(const ApiContext& context, const HttpRequest& request) {
  ChatRequest parsed;
  if (auto error = ReadBody(request, parsed, &ReadChatRequest)) return *error;
  if (auto error = ReadSchema(request.body, parsed.shared.form)) return *error;
  if (auto error = ReadTemplateInputs(request.body, parsed)) return *error;
  return ToResult(ChatJob(context.model, context.engine.State(), parsed));
}

}  // namespace barn
