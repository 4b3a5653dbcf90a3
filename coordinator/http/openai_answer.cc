#include "coordinator/http/openai_answer.h"

#include <utility>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "coordinator/http/choices_answer.h"
#include "coordinator/http/token_json.h"

namespace barn {
namespace {

using Json = nlohmann::json;
using Kind = AnswerPart::Kind;

std::string Text(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string Event(const Json& json) { return absl::StrCat("data: ", Text(json), "\n\n"); }

Json FinishName(const ChoiceParts& choice) {
  if (choice.finish() == FinishReason::kNone) return nullptr;
  if (choice.finish() == FinishReason::kLength) return "length";
  return choice.called() ? "tool_calls" : "stop";
}

// What both kinds of answer share; they differ in the shape of a choice.
class OpenAiAnswer : public ChoicesAnswer {
 public:
  OpenAiAnswer(const Tokenizer& tokenizer, OpenAiAnswerOptions options, absl::string_view id_prefix)
      : ChoicesAnswer(tokenizer, options.shape, options.choices, options.stream),
        options_(std::move(options)),
        id_(NewId(id_prefix)),
        created_(absl::ToUnixSeconds(absl::Now())),
        whole_(options_.choices) {}

  std::string KeepAlive() override { return ": the model is busy with the prompt\n\n"; }
  std::string Failure(const ApiError& error) const override { return absl::StrCat("data: ", ErrorBody(error), "\n\n"); }

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
    for (size_t i = 0; i < choices(); ++i) list.push_back(Choice(i, whole_[i]));
    Json body = Wrap(std::move(list));
    body["usage"] = Usage();
    return Text(body);
  }

 protected:
  // The object's name in "object".
  virtual absl::string_view ObjectName() const = 0;
  virtual Json Choice(size_t index, const WholeChoice& whole) const = 0;
  // The events of a streamed delta.
  virtual std::string Events(size_t index, PartsDelta delta) = 0;
  virtual Json LastChoice(size_t index) const = 0;

  std::string OnDelta(size_t index, PartsDelta delta) override {
    if (options_.stream) return Events(index, std::move(delta));
    whole_[index].Append(std::move(delta));
    return "";
  }
  std::string OnFinish(size_t index) override { return options_.stream ? ChoiceEvent(LastChoice(index)) : ""; }

  std::string ChoiceEvent(Json choice) const { return Event(Wrap(Json::array({std::move(choice)}))); }

  const OpenAiAnswerOptions options_;

 private:
  Json Wrap(Json choices) const {
    Json json = {{"id", id_},
                 {"object", ObjectName()},
                 {"created", created_},
                 {"model", options_.model},
                 {"choices", std::move(choices)}};
    if (options_.stream && options_.include_usage) json["usage"] = nullptr;
    return json;
  }

  Json Usage() const {
    int64_t cached = 0;
    for (size_t i = 0; i < choices(); i += options_.choices_per_prompt) cached += choice(i).text().cached_tokens();
    return {{"prompt_tokens", options_.prompt_tokens},
            {"completion_tokens", generated_tokens()},
            {"total_tokens", options_.prompt_tokens + generated_tokens()},
            {"prompt_tokens_details", {{"cached_tokens", cached}}}};
  }

  const std::string id_;
  const int64_t created_;
  std::vector<WholeChoice> whole_;  // Of an answer that is not streamed.
};

class CompletionAnswer final : public OpenAiAnswer {
 public:
  CompletionAnswer(const Tokenizer& tokenizer, OpenAiAnswerOptions options, std::vector<EchoedPrompt> echo)
      : OpenAiAnswer(tokenizer, std::move(options), "cmpl-"), echo_(std::move(echo)), echo_sent_(echo_.size(), false) {
    for (size_t i = 0; i < echo_.size(); ++i) choice(i).text().SkipChars(CountChars(echo_[i].text));
  }

 protected:
  absl::string_view ObjectName() const override { return "text_completion"; }

  Json Choice(size_t index, const WholeChoice& whole) const override {
    return Worded(index, whole.content, whole.tokens, FinishName(choice(index)));
  }

  std::string Events(size_t index, PartsDelta delta) override {
    const std::string* text = delta.content();
    if (text == nullptr && (!options_.logprobs || delta.tokens.empty())) return "";
    return ChoiceEvent(Worded(index, text == nullptr ? "" : *text, delta.tokens, nullptr));
  }

  Json LastChoice(size_t index) const override {
    return {{"text", ""}, {"index", index}, {"logprobs", nullptr}, {"finish_reason", FinishName(choice(index))}};
  }

  // Puts the prompt before the first text; its scores come with the updates until then.
  PartsDelta Read(size_t index, const RequestUpdate& update) override {
    PartsDelta delta = OpenAiAnswer::Read(index, update);
    if (index >= echo_.size() || echo_sent_[index]) return delta;
    EchoedPrompt& prompt = echo_[index];
    for (const PromptScore& score : update.prompt_scores) {
      if (score.index < 1 || score.index >= static_cast<int64_t>(prompt.tokens.size())) continue;
      prompt.tokens[score.index].logprob = score.logprob;
      prompt.tokens[score.index].top = score.top;
    }
    if (update.tokens.empty() && update.finish == FinishReason::kNone) return delta;
    echo_sent_[index] = true;
    PartsDelta both{.parts = {}, .tokens = std::move(prompt.tokens)};
    AppendPart(Kind::kContent, prompt.text, both.parts);
    if (const std::string* text = delta.content(); text != nullptr) AppendPart(Kind::kContent, *text, both.parts);
    std::move(delta.tokens.begin(), delta.tokens.end(), std::back_inserter(both.tokens));
    return both;
  }

 private:
  Json Worded(size_t index, const std::string& text, const std::vector<TextToken>& tokens, Json finish) const {
    return {{"text", text},
            {"index", index},
            {"logprobs",
             options_.logprobs ? CompletionLogprobs(tokenizer_, tokens, options_.top_logprobs > 0) : Json(nullptr)},
            {"finish_reason", std::move(finish)}};
  }

  std::vector<EchoedPrompt> echo_;
  std::vector<bool> echo_sent_;
};

// A call in a list: with a fresh id.
Json CallJson(const ToolCall& call, const std::string& arguments) {
  return {{"id", NewId("call_")}, {"type", "function"}, {"function", {{"name", call.name}, {"arguments", arguments}}}};
}

class ChatAnswer final : public OpenAiAnswer {
 public:
  ChatAnswer(const Tokenizer& tokenizer, OpenAiAnswerOptions options)
      : OpenAiAnswer(tokenizer, std::move(options), "chatcmpl-"), streamed_(options_.choices) {}

 protected:
  absl::string_view ObjectName() const override {
    return options_.stream ? "chat.completion.chunk" : "chat.completion";
  }

  Json Choice(size_t index, const WholeChoice& whole) const override {
    Json message = {{"role", "assistant"}, {"content", whole.content}, {"refusal", nullptr}};
    if (!whole.reasoning.empty()) message["reasoning_content"] = message["reasoning"] = whole.reasoning;
    for (const ToolCall& call : whole.calls) message["tool_calls"].push_back(CallJson(call, call.arguments));
    if (!whole.calls.empty() && whole.content.empty()) message["content"] = nullptr;
    return {{"index", index},
            {"message", std::move(message)},
            {"logprobs", options_.logprobs ? ChatLogprobs(tokenizer_, whole.tokens) : Json(nullptr)},
            {"finish_reason", FinishName(choice(index))}};
  }

  std::string Events(size_t index, PartsDelta delta) override {
    std::string bytes;
    if (!std::exchange(streamed_[index].opened, true)) {
      bytes = Delta(index, {{"role", "assistant"}, {"content", ""}}, nullptr);
    }
    const bool scored = options_.logprobs && !delta.tokens.empty();
    if (scored && delta.parts.empty()) delta.parts.push_back({});
    Json logprobs = scored ? ChatLogprobs(tokenizer_, delta.tokens) : Json(nullptr);
    for (const AnswerPart& part : delta.parts) {
      bytes += PartEvents(index, part, std::exchange(logprobs, nullptr));
    }
    return bytes;
  }

  Json LastChoice(size_t index) const override {
    return {{"index", index},
            {"delta", Json::object()},
            {"logprobs", nullptr},
            {"finish_reason", FinishName(choice(index))}};
  }

 private:
  struct Streamed {
    bool opened = false;
    size_t calls = 0;
  };

  std::string Delta(size_t index, Json delta, Json logprobs) const {
    return ChoiceEvent(
        {{"index", index}, {"delta", std::move(delta)}, {"logprobs", std::move(logprobs)}, {"finish_reason", nullptr}});
  }

  std::string PartEvents(size_t index, const AnswerPart& part, Json logprobs) {
    switch (part.kind) {
      case Kind::kReasoning:
        return Delta(index, {{"reasoning_content", part.text}, {"reasoning", part.text}}, std::move(logprobs));
      case Kind::kContent:
        return Delta(index, {{"content", part.text}}, std::move(logprobs));
      case Kind::kCall:
        break;
    }
    const size_t number = streamed_[index].calls++;
    Json begin = CallJson(part.call, "");
    begin["index"] = number;
    const Json rest = {{"index", number}, {"function", {{"arguments", part.call.arguments}}}};
    return Delta(index, {{"tool_calls", Json::array({std::move(begin)})}}, std::move(logprobs)) +
           Delta(index, {{"tool_calls", Json::array({rest})}}, nullptr);
  }

  std::vector<Streamed> streamed_;
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
