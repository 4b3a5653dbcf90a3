#include "coordinator/http/native/native_answer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "coordinator/http/choices_answer.h"
#include "coordinator/http/json_reply.h"
#include "coordinator/http/token_json.h"

namespace barn {
namespace {

using Json = nlohmann::json;

class NativeAnswer final : public ChoicesAnswer {
 public:
  NativeAnswer(const Tokenizer& tokenizer, NativeAnswerOptions options)
      : ChoicesAnswer(tokenizer, options.shape, 1, options.stream), options_(std::move(options)) {}

  std::string KeepAlive() override { return ": the model is busy with the prompt\n\n"; }
  std::string Failure(const ApiError& error) const override { return absl::StrCat("data: ", ErrorBody(error), "\n\n"); }

  std::string End() override {
    Json body = Piece(whole_);
    body.update({{"stop", true},
                 {"model", options_.model},
                 {"stop_type", StopType()},
                 {"stopping_word", choice(0).text().stop_string()},
                 {"truncated", false},
                 {"tokens_cached", options_.prompt_tokens + generated_tokens()},
                 {"timings", Timings()}});
    return options_.stream ? Event(body) : JsonText(body);
  }

 protected:
  std::string OnDelta(size_t, PartsDelta delta) override {
    if (generated_tokens() > 0) first_token_ = std::min(first_token_, absl::Now());
    if (!options_.stream) {
      whole_.Append(std::move(delta));
      return "";
    }
    if (delta.parts.empty() && delta.tokens.empty()) return "";
    WholeChoice part;
    part.Append(std::move(delta));
    return Event(Piece(part));
  }
  std::string OnFinish(size_t) override { return ""; }

 private:
  static std::string Event(const Json& json) { return absl::StrCat("data: ", JsonText(json), "\n\n"); }

  Json Piece(const WholeChoice& said) const {
    Json tokens = Json::array();
    for (const TextToken& token : said.tokens) tokens.push_back(token.id);
    Json body = {{"index", 0},
                 {"content", said.content},
                 {"tokens", std::move(tokens)},
                 {"stop", false},
                 {"id_slot", -1},
                 {"tokens_predicted", generated_tokens()},
                 {"tokens_evaluated", options_.prompt_tokens}};
    if (options_.logprobs && !said.tokens.empty()) body["completion_probabilities"] = Probabilities(said.tokens);
    return body;
  }

  Json Probabilities(const std::vector<TextToken>& tokens) const {
    Json list = ChatLogprobs(tokenizer_, tokens)["content"];
    for (size_t i = 0; i < tokens.size(); ++i) {
      list[i]["id"] = tokens[i].id;
      for (size_t j = 0; j < list[i]["top_logprobs"].size(); ++j)
        list[i]["top_logprobs"][j]["id"] = tokens[i].top[j].id;
    }
    return list;
  }

  const char* StopType() const {
    if (choice(0).finish() == FinishReason::kLength) return "limit";
    return choice(0).text().stop_string().empty() ? "eos" : "word";
  }

  Json Timings() const {
    const absl::Time now = absl::Now();
    const absl::Time first = std::min(first_token_, now);
    const auto cached = choice(0).text().cached_tokens();
    Json timings = {{"cache_n", cached}};
    const auto add = [&timings](const char* name, int64_t tokens, absl::Duration took) {
      const double ms = std::max(absl::ToDoubleMilliseconds(took), 1e-3);
      const auto count = static_cast<double>(std::max<int64_t>(1, tokens));
      timings[absl::StrCat(name, "_n")] = tokens;
      timings[absl::StrCat(name, "_ms")] = ms;
      timings[absl::StrCat(name, "_per_token_ms")] = ms / count;
      timings[absl::StrCat(name, "_per_second")] = static_cast<double>(tokens) * 1e3 / ms;
    };
    add("prompt", options_.prompt_tokens - cached, first - options_.start);
    add("predicted", generated_tokens(), now - first);
    return timings;
  }

  const NativeAnswerOptions options_;
  WholeChoice whole_;
  absl::Time first_token_ = absl::InfiniteFuture();
};

}  // namespace

std::unique_ptr<Answer> MakeNativeAnswer(const Tokenizer& tokenizer, NativeAnswerOptions options) {
  return std::make_unique<NativeAnswer>(tokenizer, std::move(options));
}

}  // namespace barn
