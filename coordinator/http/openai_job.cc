#include "coordinator/http/openai_job.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/http/chat_job.h"
#include "coordinator/http/openai_answer.h"
#include "coordinator/text/infill.h"
#include "coordinator/text/utf8.h"

namespace barn {
namespace {

constexpr int64_t kCompletionTokensDefault = 16;  // As OpenAI's.

using Ids = std::vector<int32_t>;

// What stands before a gap and behind it. A longer one loses what is far from the gap.
std::optional<ApiError> ReadGap(const ServedModel& model, const std::variant<std::string, Ids>& before,
                                const std::string& after, int64_t tokens_max, Ids& ids) {
  if (!std::holds_alternative<std::string>(before))
    return BadParam("prompt", "'prompt' must be a text beside 'suffix'");
  auto prompt = InfillPrompt(model.tokenizer, {.before = std::get<std::string>(before), .after = after}, tokens_max);
  if (!prompt.ok()) return BadParam("suffix", prompt.status().message());
  ids = *std::move(prompt);
  return std::nullopt;
}

EchoedPrompt Echo(const Tokenizer& tokenizer, const std::variant<std::string, Ids>& prompt, const Ids& ids,
                  bool with_tokens) {
  EchoedPrompt echo;
  if (std::holds_alternative<std::string>(prompt)) {
    echo.text = std::get<std::string>(prompt);
  } else {
    echo.text = ReplaceBrokenUtf8(tokenizer.Decode(ids));
  }
  if (!with_tokens) return echo;
  IncrementalDecoder decoder(tokenizer, {.at_text_start = true});
  int64_t bytes = 0, chars = 0;
  for (const int32_t id : ids) {
    echo.tokens.push_back({.id = id, .logprob = std::nullopt, .top = {}, .start_bytes = bytes, .start_chars = chars});
    const std::string part = decoder.Push(id);
    bytes += static_cast<int64_t>(part.size());
    chars += CountChars(part);
  }
  return echo;
}

OpenAiAnswerOptions AnswerOptions(const ServedModel& model, const SharedFields& shared, AnswerShape shape,
                                  size_t choices, int64_t prompt_tokens) {
  return {.model = ModelName(model, shared.model),
          .stream = shared.stream,
          .include_usage = shared.include_usage,
          .logprobs = shared.logprobs,
          .top_logprobs = shared.top_logprobs,
          .shape = std::move(shape),
          .choices = choices,
          .choices_per_prompt = static_cast<size_t>(shared.n),
          .prompt_tokens = prompt_tokens};
}

}  // namespace

std::optional<ApiError> ReadPromptIds(const ServedModel& model, const std::variant<std::string, Ids>& prompt,
                                      Ids& ids) {
  if (std::holds_alternative<std::string>(prompt)) {
    absl::StatusOr<Ids> encoded = model.tokenizer.Encode(std::get<std::string>(prompt));
    if (!encoded.ok()) return BadParam("prompt", encoded.status().message());
    ids = std::move(*encoded);
  } else {
    ids = std::get<Ids>(prompt);
    for (const int32_t id : ids) {
      if (id < model.tokenizer.size()) continue;
      return BadParam("prompt",
                      absl::StrCat("'prompt' holds token ", id, ", the last one is ", model.tokenizer.size() - 1));
    }
  }
  if (ids.empty()) return BadParam("prompt", "'prompt' is empty: this model needs at least one token to start from");
  return std::nullopt;
}

JobResult CompletionJob(const ServedModel& model, const EngineState& engine, CompletionRequest request) {
  const SharedFields& shared = request.shared;
  if (auto error = CheckShared(model, shared)) return *error;
  const int64_t context_tokens = ContextTokens(model, engine);
  if (context_tokens <= 0) return NotLoaded(engine);
  const int64_t max_tokens = shared.max_tokens.value_or(kCompletionTokensDefault);
  GenerationJob job;
  std::vector<EchoedPrompt> echo;
  int64_t prompt_tokens = 0;
  for (const auto& prompt : request.prompts) {
    Ids ids;
    if (auto error = request.suffix.empty()
                         ? ReadPromptIds(model, prompt, ids)
                         : ReadGap(model, prompt, request.suffix, context_tokens - max_tokens, ids)) {
      return *error;
    }
    if (shared.truncate) Truncate(model, context_tokens - std::min(max_tokens, context_tokens), ids);
    const auto count = static_cast<int64_t>(ids.size());
    // Without a wish of the client, a prompt near the end of the context gets a shorter answer.
    const int64_t wanted =
        shared.max_tokens.has_value() ? max_tokens : std::clamp<int64_t>(context_tokens - count, 1, max_tokens);
    if (auto error = CheckFits("prompt", count, wanted, context_tokens)) return *error;
    prompt_tokens += count;
    if (request.echo) echo.resize(echo.size() + shared.n, Echo(model.tokenizer, prompt, ids, shared.logprobs));
    GenerateRequest one = EngineRequest(model, shared, std::move(ids), wanted);
    if (auto error = HoldToForm(model, shared, one)) return *error;
    if (request.echo && shared.logprobs) {
      one.score_from = 0;
      one.score_top_logprobs = shared.top_logprobs;
    }
    AddChoices(shared, one, job.requests);
  }
  job.answer = MakeCompletionAnswer(
      model.tokenizer, AnswerOptions(model, shared, {.stop = shared.stop}, job.requests.size(), prompt_tokens),
      std::move(echo));
  return job;
}

JobResult ChatJob(const ServedModel& model, const EngineState& engine, const ChatRequest& request) {
  std::variant<ApiError, PreparedChat> prepared = PrepareChat(model, engine, request);
  if (std::holds_alternative<ApiError>(prepared)) return std::get<ApiError>(std::move(prepared));
  PreparedChat& chat = std::get<PreparedChat>(prepared);
  GenerationJob job;
  job.requests = std::move(chat.requests);
  job.answer = MakeChatAnswer(model.tokenizer, AnswerOptions(model, request.shared, std::move(chat.shape),
                                                             job.requests.size(), chat.prompt_tokens));
  return job;
}

}  // namespace barn
