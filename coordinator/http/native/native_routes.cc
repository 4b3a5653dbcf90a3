#include "coordinator/http/native/native_routes.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/time/clock.h"
#include "coordinator/http/generation_job.h"
#include "coordinator/http/json_reply.h"
#include "coordinator/http/native/native_answer.h"
#include "coordinator/http/native/native_request.h"
#include "coordinator/http/openai_job.h"

namespace barn {
namespace {

using Ids = std::vector<int32_t>;

// The request as far as it can be checked without its prompt, and the context that is there for it.
std::optional<ApiError> Read(const ApiContext& context, const HttpRequest& request,
                             std::optional<ApiError> (*read)(const nlohmann::json&, NativeRequest&),
                             NativeRequest& parsed, int64_t& context_tokens) {
  if (auto error = ReadBody(request, parsed, read)) return error;
  if (auto error = ReadSchema(request.body, parsed.shared.form)) return error;
  if (auto error = CheckShared(context.model, parsed.shared)) return error;
  const EngineState engine = context.engine.State();
  context_tokens = ContextTokens(context.model, engine);
  return context_tokens > 0 ? std::nullopt : std::optional<ApiError>(NotLoaded(engine));
}

// The job for a prompt of ids.
RouteResult Job(const ServedModel& model, const SharedFields& shared, absl::Time start, Ids ids,
                int64_t context_tokens) {
  const auto prompt_tokens = static_cast<int64_t>(ids.size());
  const int64_t wanted = shared.max_tokens.value_or(std::max<int64_t>(1, context_tokens - prompt_tokens));
  if (auto error = CheckFits("prompt", prompt_tokens, wanted, context_tokens)) return *error;
  GenerateRequest one = EngineRequest(model, shared, std::move(ids), wanted);
  if (auto error = HoldToForm(model, shared, one)) return *error;
  GenerationJob job;
  AddChoices(shared, one, job.requests);
  job.answer = MakeNativeAnswer(model.tokenizer, {.model = ModelName(model, shared.model),
                                                  .stream = shared.stream,
                                                  .logprobs = shared.logprobs,
                                                  .shape = {.stop = shared.stop},
                                                  .prompt_tokens = prompt_tokens,
                                                  .start = start});
  return job;
}

}  // namespace

RouteResult NativeCompletion(const ApiContext& context, const HttpRequest& request) {
  const absl::Time start = absl::Now();
  NativeRequest parsed;
  int64_t context_tokens = 0;
  if (auto error = Read(context, request, &ReadNativeCompletion, parsed, context_tokens)) return *error;
  const ServedModel& model = context.model;
  Ids ids;
  if (auto error = ReadPromptIds(model, parsed.prompt, ids)) return *error;
  return Job(model, parsed.shared, start, std::move(ids), context_tokens);
}

RouteResult NativeInfill(const ApiContext& context, const HttpRequest& request) {
  const absl::Time start = absl::Now();
  NativeRequest parsed;
  int64_t context_tokens = 0;
  if (auto error = Read(context, request, &ReadNativeInfill, parsed, context_tokens)) return *error;
  const ServedModel& model = context.model;
  // Without a limit of the client an answer has a quarter of the context.
  SharedFields& shared = parsed.shared;
  if (!shared.max_tokens.has_value()) shared.max_tokens = std::max<int64_t>(1, context_tokens / 4);
  absl::StatusOr<Ids> ids = InfillPrompt(model.tokenizer, parsed.infill, context_tokens - *shared.max_tokens);
  if (!ids.ok()) return BadParam("input_prefix", ids.status().message());
  return Job(model, shared, start, *std::move(ids), context_tokens);
}

}  // namespace barn
