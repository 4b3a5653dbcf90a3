#include "coordinator/http/ollama/ollama_routes.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "coordinator/http/chat_job.h"
#include "coordinator/http/json_reply.h"
#include "coordinator/http/ollama/ollama_answer.h"
#include "coordinator/http/ollama/ollama_entry.h"
#include "coordinator/http/ollama/ollama_request.h"
#include "coordinator/text/infill.h"

namespace barn {
namespace {

using Json = nlohmann::json;
using ReadOllama = std::optional<ApiError> (*)(const Json&, std::string_view, OllamaRequest&);

ApiError NoSuchModel(const std::string& name) {
  ApiError error = ModelNotFound(name);
  error.message = absl::StrCat("model '", name, "' not found");
  return error;
}

// A request without a prompt: the model is loaded already, and stays.
HttpReply Loaded(const ApiContext& context, const OllamaRequest& request, bool chat) {
  Json body = {{"model", context.model.id},
               {"created_at", OllamaTime(absl::Now())},
               {"done", true},
               {"done_reason", request.unloads ? "unload" : "load"}};
  if (chat) {
    body["message"] = {{"role", "assistant"}, {"content", ""}};
  } else {
    body["response"] = "";
  }
  return JsonReply(body);
}

// A raw prompt is what a template would have made: texts of control tokens are these tokens.
absl::StatusOr<std::vector<int32_t>> RawPrompt(const Tokenizer& tokenizer, const std::string& prompt) {
  const Vocabulary& vocabulary = tokenizer.vocabulary();
  absl::StatusOr<std::vector<int32_t>> ids = tokenizer.Encode(prompt, {.add_special = false, .parse_special = true});
  if (!ids.ok() || !vocabulary.add_bos || vocabulary.bos < 0) return ids;
  if (ids->empty() || ids->front() != vocabulary.bos) ids->insert(ids->begin(), vocabulary.bos);
  return ids;
}

// A prompt that is no chat: a raw one, or a text with a gap.
std::variant<ApiError, PreparedChat> PrepareText(const ServedModel& model, const EngineState& engine,
                                                 const OllamaRequest& request) {
  const SharedFields& shared = request.chat.shared;
  if (auto error = CheckShared(model, shared)) return *error;
  const int64_t context_tokens = ContextTokens(model, engine);
  if (context_tokens <= 0) return NotLoaded(engine);
  // A gap's answer has a quarter of the context at least, unless the client says how long it may be.
  const int64_t before_tokens_max =
      context_tokens - std::min(shared.max_tokens.value_or(context_tokens / 4), context_tokens);
  absl::StatusOr<std::vector<int32_t>> ids =
      request.raw
          ? RawPrompt(model.tokenizer, request.prompt)
          : InfillPrompt(model.tokenizer, {.before = request.prompt, .after = request.suffix}, before_tokens_max);
  if (!ids.ok()) return BadParam(request.raw ? "prompt" : "suffix", ids.status().message());
  PreparedChat chat;
  chat.prompt_tokens = static_cast<int64_t>(ids->size());
  const int64_t room = std::max<int64_t>(1, context_tokens - chat.prompt_tokens);
  const int64_t max_tokens = shared.max_tokens.value_or(room);
  if (auto error = CheckFits("prompt", chat.prompt_tokens, max_tokens, context_tokens)) return *error;
  GenerateRequest one = EngineRequest(model, shared, *std::move(ids), max_tokens);
  if (auto error = HoldToForm(model, shared, one)) return *error;
  AddChoices(shared, one, chat.requests);
  chat.shape.stop = shared.stop;
  return chat;
}

RouteResult Generate(const ApiContext& context, const HttpRequest& http, ReadOllama read, bool is_chat) {
  const absl::Time start = absl::Now();
  if (http.body.empty()) return BadParam("body", "missing request body");
  const absl::StatusOr<Json> body = ReadJson(http.body);
  if (!body.ok()) return FromStatus(body.status());
  OllamaRequest request;
  if (auto error = read(*body, http.body, request)) return *error;
  if (auto error = ReadSchema(http.body, request.chat.shared.form)) return *error;
  const ServedModel& model = context.model;
  if (!Serves(model, request.chat.shared.model)) return NoSuchModel(request.chat.shared.model);
  if (request.empty) return Loaded(context, request, is_chat);
  const bool reasons = model.chat_template != nullptr && model.chat_template->format().reasons();
  if (request.think.value_or(false) && !reasons) {
    return BadParam("think", absl::StrCat("\"", model.id, "\" does not support thinking"));
  }
  const EngineState state = context.engine.State();
  std::variant<ApiError, PreparedChat> prepared = request.raw || !request.suffix.empty()
                                                      ? PrepareText(model, state, request)
                                                      : PrepareChat(model, state, request.chat);
  if (std::holds_alternative<ApiError>(prepared)) return std::get<ApiError>(std::move(prepared));
  PreparedChat& ready = std::get<PreparedChat>(prepared);
  GenerationJob job;
  job.requests = std::move(ready.requests);
  job.answer = MakeOllamaAnswer(model.tokenizer, {.model = ModelName(model, request.chat.shared.model),
                                                  .stream = request.chat.shared.stream,
                                                  .chat = is_chat,
                                                  .logprobs = request.chat.shared.logprobs,
                                                  .shape = std::move(ready.shape),
                                                  .prompt_tokens = ready.prompt_tokens,
                                                  .start = start});
  return job;
}

}  // namespace

RouteResult OllamaChat(const ApiContext& context, const HttpRequest& request) {
  return Generate(context, request, &ReadOllamaChat, true);
}

RouteResult OllamaGenerate(const ApiContext& context, const HttpRequest& request) {
  return Generate(context, request, &ReadOllamaGenerate, false);
}

RouteResult OllamaTags(const ApiContext& context, const HttpRequest&) {
  Json entry = OllamaModelEntry(context.model.id, context.model.facts);
  entry["modified_at"] = OllamaTime(absl::FromUnixSeconds(context.model.created));
  entry["capabilities"] = OllamaCapabilities(context.model);
  return JsonReply({{"models", Json::array({std::move(entry)})}});
}

RouteResult OllamaRunning(const ApiContext& context, const HttpRequest&) {
  const EngineState state = context.engine.State();
  Json models = Json::array();
  if (state.ready) {
    Json entry = OllamaModelEntry(context.model.id, context.model.facts);
    // It stays until the server ends; the dialect wants a time.
    entry["expires_at"] = OllamaTime(absl::Now() + absl::Hours(24 * 365));
    entry["size_vram"] = 0;
    entry["context_length"] = ContextTokens(context.model, state);
    models.push_back(std::move(entry));
  }
  return JsonReply({{"models", std::move(models)}});
}

RouteResult OllamaShow(const ApiContext& context, const HttpRequest& request) {
  if (request.body.empty()) return BadParam("body", "missing request body");
  const absl::StatusOr<Json> body = ReadJson(request.body);
  if (!body.ok()) return FromStatus(body.status());
  if (!body->is_object()) return BadParam("body", "the body must be a JSON object");
  // Older clients say "name".
  const Json name = body->value("model", body->value("name", Json()));
  if (!name.is_string() || name.get_ref<const std::string&>().empty()) return BadParam("model", "model is required");
  const ServedModel& model = context.model;
  const std::string wanted = OllamaModelName(name.get<std::string>());
  if (!Serves(model, wanted)) return NoSuchModel(wanted);
  return JsonReply({{"license", model.facts.license},
                    {"modelfile", absl::StrCat("FROM ", model.id, "\n")},
                    {"parameters", ""},
                    {"template", model.facts.chat_template},
                    {"details", OllamaDetails(model.facts)},
                    {"model_info", model.facts.header},
                    {"capabilities", OllamaCapabilities(model)},
                    {"modified_at", OllamaTime(absl::FromUnixSeconds(model.created))}});
}

RouteResult OllamaVersion(const ApiContext& context, const HttpRequest&) {
  return JsonReply({{"version", context.model.facts.server_version}});
}

}  // namespace barn
