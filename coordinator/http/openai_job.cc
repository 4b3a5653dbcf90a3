#include "coordinator/http/openai_job.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "coordinator/http/openai_answer.h"
#include "coordinator/text/utf8.h"
#include "proto/base/status.h"

namespace barn {
namespace {

constexpr int64_t kCompletionTokensDefault = 16;  // As OpenAI's.

using Ids = std::vector<int32_t>;

std::optional<ApiError> CheckShared(const ServedModel& model, const SharedFields& shared) {
  if (!shared.model.empty() && !Serves(model, shared.model)) return ModelNotFound(shared.model);
  for (const auto& [id, bias] : shared.sampling.logit_bias) {
    if (id >= model.tokenizer.size()) {
      return BadParam("logit_bias",
                      absl::StrCat("'logit_bias' names token ", id, ", the last one is ", model.tokenizer.size() - 1));
    }
  }
  const absl::Status status = Validate(shared.sampling, model.tokenizer.size());
  return status.ok() ? std::nullopt : std::optional<ApiError>(FromStatus(status));
}

// Checks that prompt and answer fit together. Both numbers stand in the message, since nothing is ever cut.
std::optional<ApiError> CheckFits(absl::string_view param, int64_t prompt_tokens, int64_t max_tokens,
                                  int64_t context_tokens) {
  if (prompt_tokens + max_tokens <= context_tokens) return std::nullopt;
  ApiError error = BadParam(param, absl::StrCat("the prompt has ", prompt_tokens, " tokens, but the context holds ",
                                                context_tokens, " for prompt and answer"));
  if (prompt_tokens < context_tokens) {
    error = BadParam("max_tokens", absl::StrCat("the prompt has ", prompt_tokens, " tokens and max_tokens is ",
                                                max_tokens, ", but the context holds ", context_tokens, " for both"));
  }
  error.code = "context_length_exceeded";
  return error;
}

std::optional<ApiError> ReadIds(const ServedModel& model, const std::variant<std::string, Ids>& prompt, Ids& ids) {
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

// Takes the oldest tokens away until so many are left; a begin token stays where it is.
void Truncate(const ServedModel& model, int64_t tokens_max, Ids& ids) {
  const int64_t excess = static_cast<int64_t>(ids.size()) - std::max<int64_t>(1, tokens_max);
  if (excess <= 0) return;
  const bool begins = ids.size() > 1 && ids.front() == model.tokenizer.vocabulary().bos && tokens_max > 1;
  const auto first = ids.begin() + (begins ? 1 : 0);
  ids.erase(first, first + excess);
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

GenerateRequest EngineRequest(const SharedFields& shared, Ids prompt, int64_t max_tokens) {
  GenerateRequest request;
  request.prompt = std::move(prompt);
  request.max_tokens = max_tokens;
  request.sampling = shared.sampling;
  request.top_logprobs = shared.top_logprobs;
  request.ignore_end = shared.ignore_eos;
  request.timeout = shared.timeout;
  return request;
}

// n copies; each draws with a seed of its own, or they would all be the same.
void AddChoices(const SharedFields& shared, const GenerateRequest& request, std::vector<GenerateRequest>& requests) {
  for (int64_t i = 0; i < shared.n; ++i) {
    requests.push_back(request);
    if (shared.sampling.seed.has_value())
      requests.back().sampling.seed = *shared.sampling.seed + static_cast<uint64_t>(i);
  }
}

OpenAiAnswerOptions AnswerOptions(const ServedModel& model, const SharedFields& shared, size_t choices,
                                  int64_t prompt_tokens) {
  return {.model = model.id,
          .stream = shared.stream,
          .include_usage = shared.include_usage,
          .logprobs = shared.logprobs,
          .top_logprobs = shared.top_logprobs,
          .stop = shared.stop,
          .choices = choices,
          .choices_per_prompt = static_cast<size_t>(shared.n),
          .prompt_tokens = prompt_tokens};
}

absl::StatusOr<Ids> ChatIds(const ServedModel& model, const ChatRequest& request) {
  if (!model.chat_template_error.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the model's chat template cannot be used: ", model.chat_template_error, "; --chat-template FILE replaces it"));
  }
  if (model.chat_template == nullptr) return model.tokenizer.Encode(RenderPlainChat(request.messages));
  BARN_ASSIGN_OR_RETURN(const std::string text,
                        model.chat_template->Render(request.raw_messages, request.template_inputs, absl::Now()));
  return model.chat_template->Encode(text);
}

ApiError NotLoaded(const EngineState& engine) {
  return FromStatus(absl::UnavailableError(engine.reason.empty() ? "the model is not loaded yet" : engine.reason));
}

}  // namespace

bool Serves(const ServedModel& model, absl::string_view name) {
  return name == model.id || std::find(model.aliases.begin(), model.aliases.end(), name) != model.aliases.end();
}

int64_t ContextTokens(const ServedModel& model, const EngineState& engine) {
  return engine.context_tokens_max > 0 ? engine.context_tokens_max : model.context_tokens;
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
    if (auto error = ReadIds(model, prompt, ids)) return *error;
    if (shared.truncate) Truncate(model, context_tokens - std::min(max_tokens, context_tokens), ids);
    const auto count = static_cast<int64_t>(ids.size());
    // Without a wish of the client, a prompt near the end of the context gets a shorter answer.
    const int64_t wanted =
        shared.max_tokens.has_value() ? max_tokens : std::clamp<int64_t>(context_tokens - count, 1, max_tokens);
    if (auto error = CheckFits("prompt", count, wanted, context_tokens)) return *error;
    prompt_tokens += count;
    if (request.echo) echo.resize(echo.size() + shared.n, Echo(model.tokenizer, prompt, ids, shared.logprobs));
    GenerateRequest one = EngineRequest(shared, std::move(ids), wanted);
    if (request.echo && shared.logprobs) {
      one.score_from = 0;
      one.score_top_logprobs = shared.top_logprobs;
    }
    AddChoices(shared, one, job.requests);
  }
  job.answer = MakeCompletionAnswer(model.tokenizer, AnswerOptions(model, shared, job.requests.size(), prompt_tokens),
                                    std::move(echo));
  return job;
}

JobResult ChatJob(const ServedModel& model, const EngineState& engine, ChatRequest request) {
  const SharedFields& shared = request.shared;
  if (auto error = CheckShared(model, shared)) return *error;
  const int64_t context_tokens = ContextTokens(model, engine);
  if (context_tokens <= 0) return NotLoaded(engine);
  absl::StatusOr<Ids> ids = ChatIds(model, request);
  if (!ids.ok()) return BadParam("messages", ids.status().message());
  // Without a limit of the client, an answer has a quarter of the context at least.
  const int64_t room = std::min(shared.max_tokens.value_or(context_tokens / 4), context_tokens);
  if (shared.truncate) Truncate(model, context_tokens - room, *ids);
  const auto prompt_tokens = static_cast<int64_t>(ids->size());
  const int64_t max_tokens = shared.max_tokens.value_or(std::max<int64_t>(1, context_tokens - prompt_tokens));
  if (auto error = CheckFits("messages", prompt_tokens, max_tokens, context_tokens)) return *error;
  GenerationJob job;
  AddChoices(shared, EngineRequest(shared, std::move(*ids), max_tokens), job.requests);
  job.answer = MakeChatAnswer(model.tokenizer, AnswerOptions(model, shared, job.requests.size(), prompt_tokens));
  return job;
}

}  // namespace barn
