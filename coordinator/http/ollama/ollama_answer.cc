#include "coordinator/http/ollama/ollama_answer.h"

#include <utility>

#include "absl/time/clock.h"
#include "coordinator/http/choices_answer.h"
#include "coordinator/http/json_reply.h"
#include "coordinator/http/token_json.h"

namespace barn {
namespace {

using Json = nlohmann::json;
using Kind = AnswerPart::Kind;

class OllamaAnswer final : public ChoicesAnswer {
 public:
  OllamaAnswer(const Tokenizer& tokenizer, OllamaAnswerOptions options)
      : ChoicesAnswer(tokenizer, options.shape, 1, options.stream), options_(std::move(options)) {}

  absl::string_view StreamType() const override { return "application/x-ndjson"; }
  // A line that says nothing: readers of lines know no comments.
  std::string KeepAlive() override { return Line({}); }
  std::string Failure(const ApiError& error) const override { return ErrorBody(error, Dialect::kOllama) + "\n"; }

  std::string End() override {
    Json body = Worded(whole_);
    const absl::Time now = absl::Now();
    const absl::Time first = std::min(first_token_, now);
    body.update({{"done", true},
                 {"done_reason", choice(0).finish() == FinishReason::kLength ? "length" : "stop"},
                 {"total_duration", absl::ToInt64Nanoseconds(now - options_.start)},
                 {"load_duration", 0},
                 {"prompt_eval_count", options_.prompt_tokens},
                 {"prompt_eval_duration", absl::ToInt64Nanoseconds(first - options_.start)},
                 {"eval_count", generated_tokens()},
                 {"eval_duration", absl::ToInt64Nanoseconds(now - first)}});
    return JsonText(body) + (options_.stream ? "\n" : "");
  }

 protected:
  std::string OnDelta(size_t, PartsDelta delta) override {
    if (generated_tokens() > 0) first_token_ = std::min(first_token_, absl::Now());
    if (!options_.stream) {
      whole_.Append(std::move(delta));
      return "";
    }
    if (delta.parts.empty() && (!options_.logprobs || delta.tokens.empty())) return "";
    WholeChoice part;
    part.Append(std::move(delta));
    return Line(part);
  }
  std::string OnFinish(size_t) override { return ""; }

 private:
  Json Calls(const std::vector<ToolCall>& calls) {
    Json list = Json::array();
    for (const ToolCall& call : calls) {
      list.push_back(
          {{"id", NewId("call_")},
           {"function", {{"index", calls_++}, {"name", call.name}, {"arguments", Json::parse(call.arguments)}}}});
    }
    return list;
  }

  Json Worded(const WholeChoice& said) {
    Json body = {{"model", options_.model}, {"created_at", OllamaTime(absl::Now())}, {"done", false}};
    if (options_.chat) {
      Json message = {{"role", "assistant"}, {"content", said.content}};
      if (!said.reasoning.empty()) message["thinking"] = said.reasoning;
      if (!said.calls.empty()) message["tool_calls"] = Calls(said.calls);
      body["message"] = std::move(message);
    } else {
      body["response"] = said.content;
      if (!said.reasoning.empty()) body["thinking"] = said.reasoning;
    }
    if (options_.logprobs && !said.tokens.empty()) body["logprobs"] = ChatLogprobs(tokenizer_, said.tokens)["content"];
    return body;
  }

  std::string Line(const WholeChoice& said) { return JsonText(Worded(said)) + "\n"; }

  const OllamaAnswerOptions options_;
  WholeChoice whole_;
  size_t calls_ = 0;
  absl::Time first_token_ = absl::InfiniteFuture();
};

}  // namespace

std::unique_ptr<Answer> MakeOllamaAnswer(const Tokenizer& tokenizer, OllamaAnswerOptions options) {
  return std::make_unique<OllamaAnswer>(tokenizer, std::move(options));
}

std::string OllamaTime(absl::Time time) {
  return absl::FormatTime("%Y-%m-%d%ET%H:%M:%E6SZ", time, absl::UTCTimeZone());
}

}  // namespace barn
