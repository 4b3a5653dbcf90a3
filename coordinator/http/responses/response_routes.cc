#include "coordinator/http/responses/response_routes.h"

#include <utility>

#include "coordinator/http/chat_job.h"
#include "coordinator/http/json_reply.h"
#include "coordinator/http/responses/response_answer.h"
#include "coordinator/http/responses/response_request.h"

namespace barn {

RouteResult OpenAiResponse(const ApiContext& context, const HttpRequest& request) {
  const absl::StatusOr<nlohmann::json> body = ReadJson(request.body);
  if (!body.ok()) return FromStatus(body.status());
  ChatRequest chat;
  if (auto error = ReadResponseRequest(*body, request.body, chat)) return *error;
  std::variant<ApiError, PreparedChat> prepared = PrepareChat(context.model, context.engine.State(), chat);
  if (std::holds_alternative<ApiError>(prepared)) return std::get<ApiError>(std::move(prepared));
  PreparedChat& ready = std::get<PreparedChat>(prepared);
  GenerationJob job;
  job.requests = std::move(ready.requests);
  job.answer = MakeResponseAnswer(context.model.tokenizer, {.model = ModelName(context.model, chat.shared.model),
                                                            .echoed = EchoedFields(*body),
                                                            .stream = chat.shared.stream,
                                                            .logprobs = chat.shared.logprobs,
                                                            .shape = std::move(ready.shape),
                                                            .prompt_tokens = ready.prompt_tokens});
  return job;
}

}  // namespace barn
