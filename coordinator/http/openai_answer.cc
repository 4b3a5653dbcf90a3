#include "coordinator/http/openai_answer.h"

#include <random>
#include <utility>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "coordinator/http/token_json.h"

namespace barn {
namespace {

using Json = nlohmann::json;

// Hard to guess, so that nobody finds another's answer by its id.
std::string NewId(absl::string_view prefix) {
  std::random_device random;
  return absl::StrFormat("%s-%08x%08x%08x", prefix, random(), random(), random());
}

std::string Text(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string Event(const Json& json) { return absl::StrCat("data: ", Text(json), "\n\n"); }

Json FinishName(FinishReason finish) {
  if (finish == FinishReason::kNone) return nullptr;
  return finish == FinishReason::kLength ? "length" : "stop";
}

// What both kinds of answer share; they differ in the shape of a choice.
class OpenAiAnswer : public Answer {
 public:
  OpenAiAnswer(const Tokenizer& tokenizer, OpenAiAnswerOptions options, absl::string_view id_prefix)
      : tokenizer_(tokenizer),
        options_(std::move(options)),
        id_(NewId(id_prefix)),
        created_(absl::ToUnixSeconds(absl::Now())) {
    for (size_t i = 0; i < options_.choices; ++i) choices_.push_back({ChoiceText(tokenizer, options_.stop), {}});
  }

  bool streams() const override { return options_.stream; }
  bool done(size_t choice) const override { return choices_[choice].text.done(); }
  bool done() const override { return error_.has_value() || choices_done_ == choices_.size(); }
  const ApiError* error() const override { return error_.has_value() ? &*error_ : nullptr; }
  std::string KeepAlive() const override { return ": the model is busy with the prompt\n\n"; }
  std::string Failure(const ApiError& error) const override { return absl::StrCat("data: ", ErrorBody(error), "\n\n"); }

  std::string Add(const ChoiceUpdate& update) override {
    Choice& choice = choices_[update.choice];
    if (choice.text.done()) return "";
    TextDelta delta = Read(update.choice, update.update);
    std::string bytes;
    if (options_.stream) {
      bytes = Opening(update.choice);
      if (!delta.text.empty() || (options_.logprobs && !delta.tokens.empty())) {
        bytes += Event(Wrap(Json::array({StreamedChoice(update.choice, delta, FinishReason::kNone)})));
      }
    } else {
      choice.whole.text += delta.text;
      std::move(delta.tokens.begin(), delta.tokens.end(), std::back_inserter(choice.whole.tokens));
    }
    if (choice.text.done()) bytes += Finish(update.choice);
    return bytes;
  }

  std::string End() override {
    if (options_.stream) {
      std::string bytes;
      if (options_.include_usage) {
        Json event = Wrap(Json::array());
        event["usage"] = Usage();
        bytes = Event(event);
      }
      return bytes + "data: [DONE]\n\n";
    }
    Json list = Json::array();
    for (size_t i = 0; i < choices_.size(); ++i) {
      list.push_back(WholeChoice(i, choices_[i].whole, choices_[i].text.finish()));
    }
    Json body = Wrap(std::move(list));
    body["usage"] = Usage();
    return Text(body);
  }

 protected:
  // The object's name in "object".
  virtual absl::string_view Kind() const = 0;
  virtual Json StreamedChoice(size_t index, const TextDelta& delta, FinishReason finish) const = 0;
  virtual Json WholeChoice(size_t index, const TextDelta& whole, FinishReason finish) const = 0;
  // Events before the first text of a choice; "" from then on.
  virtual std::string Opening(size_t) { return ""; }
  virtual TextDelta Read(size_t index, const RequestUpdate& update) { return choices_[index].text.Add(update); }

  Json Wrap(Json choices) const {
    Json json = {{"id", id_},
                 {"object", Kind()},
                 {"created", created_},
                 {"model", options_.model},
                 {"choices", std::move(choices)}};
    if (options_.stream && options_.include_usage) json["usage"] = nullptr;
    return json;
  }

  ChoiceText& text(size_t index) { return choices_[index].text; }

  const Tokenizer& tokenizer_;
  const OpenAiAnswerOptions options_;

 private:
  struct Choice {
    ChoiceText text;
    TextDelta whole;  // Of an answer that is not streamed.
  };

  std::string Finish(size_t index) {
    const ChoiceText& text = choices_[index].text;
    if (text.finish() == FinishReason::kError || text.finish() == FinishReason::kCancelled) {
      if (!error_.has_value()) {
        error_ =
            FromStatus(text.finish() == FinishReason::kError ? text.status()
                                                             : absl::UnavailableError("the server ended this request"));
      }
      return "";
    }
    ++choices_done_;
    if (!options_.stream) return "";
    return Event(Wrap(Json::array({StreamedChoice(index, {}, text.finish())})));
  }

  Json Usage() const {
    int64_t generated = 0, cached = 0;
    for (size_t i = 0; i < choices_.size(); ++i) {
      generated += choices_[i].text.generated_tokens();
      if (i % options_.choices_per_prompt == 0) cached += choices_[i].text.cached_tokens();
    }
    return {{"prompt_tokens", options_.prompt_tokens},
            {"completion_tokens", generated},
            {"total_tokens", options_.prompt_tokens + generated},
            {"prompt_tokens_details", {{"cached_tokens", cached}}}};
  }

  const std::string id_;
  const int64_t created_;
  std::vector<Choice> choices_;
  size_t choices_done_ = 0;
  std::optional<ApiError> error_;
};

class CompletionAnswer final : public OpenAiAnswer {
 public:
  CompletionAnswer(const Tokenizer& tokenizer, OpenAiAnswerOptions options, std::vector<EchoedPrompt> echo)
      : OpenAiAnswer(tokenizer, std::move(options), "cmpl"), echo_(std::move(echo)), echo_sent_(echo_.size(), false) {
    for (size_t i = 0; i < echo_.size(); ++i) text(i).SkipChars(CountChars(echo_[i].text));
  }

 protected:
  absl::string_view Kind() const override { return "text_completion"; }

  Json StreamedChoice(size_t index, const TextDelta& delta, FinishReason finish) const override {
    return WholeChoice(index, delta, finish);
  }

  Json WholeChoice(size_t index, const TextDelta& whole, FinishReason finish) const override {
    const bool logprobs = options_.logprobs && (finish == FinishReason::kNone || !options_.stream);
    return {{"text", whole.text},
            {"index", index},
            {"logprobs",
             logprobs ? CompletionLogprobs(tokenizer_, whole.tokens, options_.top_logprobs > 0) : Json(nullptr)},
            {"finish_reason", FinishName(finish)}};
  }

  // Puts the prompt before the first text; its scores come with the updates until then.
  TextDelta Read(size_t index, const RequestUpdate& update) override {
    TextDelta delta = OpenAiAnswer::Read(index, update);
    if (index >= echo_.size() || echo_sent_[index]) return delta;
    EchoedPrompt& prompt = echo_[index];
    for (const PromptScore& score : update.prompt_scores) {
      if (score.index < 1 || score.index >= static_cast<int64_t>(prompt.tokens.size())) continue;
      prompt.tokens[score.index].logprob = score.logprob;
      prompt.tokens[score.index].top = score.top;
    }
    if (update.tokens.empty() && update.finish == FinishReason::kNone) return delta;
    echo_sent_[index] = true;
    TextDelta both{.text = prompt.text + delta.text, .tokens = std::move(prompt.tokens)};
    std::move(delta.tokens.begin(), delta.tokens.end(), std::back_inserter(both.tokens));
    return both;
  }

 private:
  std::vector<EchoedPrompt> echo_;
  std::vector<bool> echo_sent_;
};

class ChatAnswer final : public OpenAiAnswer {
 public:
  ChatAnswer(const Tokenizer& tokenizer, OpenAiAnswerOptions options)
      : OpenAiAnswer(tokenizer, std::move(options), "chatcmpl"), opened_(options_.choices, false) {}

 protected:
  absl::string_view Kind() const override { return options_.stream ? "chat.completion.chunk" : "chat.completion"; }

  Json StreamedChoice(size_t index, const TextDelta& delta, FinishReason finish) const override {
    const bool last = finish != FinishReason::kNone;
    return {{"index", index},
            {"delta", last ? Json::object() : Json{{"content", delta.text}}},
            {"logprobs", options_.logprobs && !last ? ChatLogprobs(tokenizer_, delta.tokens) : Json(nullptr)},
            {"finish_reason", FinishName(finish)}};
  }

  Json WholeChoice(size_t index, const TextDelta& whole, FinishReason finish) const override {
    return {{"index", index},
            {"message", {{"role", "assistant"}, {"content", whole.text}, {"refusal", nullptr}}},
            {"logprobs", options_.logprobs ? ChatLogprobs(tokenizer_, whole.tokens) : Json(nullptr)},
            {"finish_reason", FinishName(finish)}};
  }

  std::string Opening(size_t index) override {
    if (opened_[index]) return "";
    // An error that comes before anything else must still be able to become a plain reply.
    if (text(index).finish() == FinishReason::kError) return "";
    opened_[index] = true;
    const Json choice = {{"index", index},
                         {"delta", {{"role", "assistant"}, {"content", ""}}},
                         {"logprobs", nullptr},
                         {"finish_reason", nullptr}};
    return Event(Wrap(Json::array({choice})));
  }

 private:
  std::vector<bool> opened_;
};

}  // namespace

std::unique_ptr<Answer> MakeCompletionAnswer(const Tokenizer& tokenizer, OpenAiAnswerOptions options,
                                             std::vector<EchoedPrompt> echo) {
  return std::make_unique<CompletionAnswer>(tokenizer, std::move(options), std::move(echo));
}

std::unique_ptr<Answer> MakeChatAnswer(const Tokenizer& tokenizer, OpenAiAnswerOptions options) {
  return std::make_unique<ChatAnswer>(tokenizer, std::move(options));
}

}  // namespace barn
