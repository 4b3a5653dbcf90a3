#include "coordinator/http/anthropic/anthropic_routes.h"

#include <utility>

#include "coordinator/http/anthropic/message_answer.h"
#include "coordinator/http/anthropic/messages_request.h"
#include "coordinator/http/chat_job.h"
#include "coordinator/http/json_reply.h"

namespace barn {
namespace {

std::optional<ApiError> Read(const HttpRequest& http, bool counts_only, ChatRequest& request) {
  const absl::StatusOr<nlohmann::json> body = ReadJson(http.body);
  if (!body.ok()) return FromStatus(body.status());
  return ReadMessagesRequest(*body, http.body, counts_only, request);
}

}  // namespace

RouteResult AnthropicMessages(const ApiContext& context, const HttpRequest& request) {
  ChatRequest chat;
  if (auto error = Read(request, false, chat)) return *error;
  std::variant<ApiError, PreparedChat> prepared = PrepareChat(context.model, context.engine.State(), chat);
  if (std::holds_alternative<ApiError>(prepared)) return std::get<ApiError>(std::move(prepared));
  PreparedChat& ready = std::get<PreparedChat>(prepared);
  GenerationJob job;
  job.requests = std::move(ready.requests);
  job.answer = MakeMessageAnswer(context.model.tokenizer, {.model = ModelName(context.model, chat.shared.model),
                                                           .stream = chat.shared.stream,
                                                           .shape = std::move(ready.shape),
                                                           .prompt_tokens = ready.prompt_tokens});
  return job;
}

RouteResult AnthropicCountTokens(const ApiContext& context, const HttpRequest& request) {
  ChatRequest chat;
  if (auto error = Read(request, true, chat)) return *error;
  if (auto error = CheckShared(context.model, chat.shared)) return *error;
  std::variant<ApiError, ChatPrompt> prompt = RenderChat(context.model, chat);
  if (std::holds_alternative<ApiError>(prompt)) return std::get<ApiError>(std::move(prompt));
  return JsonReply({{"input_tokens", std::get<ChatPrompt>(prompt).ids.size()}});
}

}  // namespace barn
