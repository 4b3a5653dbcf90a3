#include "coordinator/http/responses/response_answer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "coordinator/http/choices_answer.h"
#include "coordinator/http/json_reply.h"
#include "coordinator/http/token_json.h"

namespace barn {
namespace {

using Json = nlohmann::json;
using Kind = AnswerPart::Kind;

Json TextPart(Kind kind, const std::string& text, Json logprobs) {
  if (kind == Kind::kReasoning) return {{"type", "reasoning_text"}, {"text", text}};
  return {{"type", "output_text"}, {"text", text}, {"annotations", Json::array()}, {"logprobs", std::move(logprobs)}};
}

class ResponseAnswer final : public ChoicesAnswer {
 public:
  ResponseAnswer(const Tokenizer& tokenizer, ResponseAnswerOptions options)
      : ChoicesAnswer(tokenizer, options.shape, 1, options.stream),
        options_(std::move(options)),
        id_(NewId("resp_")),
        created_(absl::ToUnixSeconds(absl::Now())) {}

  std::string KeepAlive() override { return ": the model is busy with the prompt\n\n"; }

  std::string Failure(const ApiError& error) const override {
    const Json data = {{"type", "error"},
                       {"code", error.code.value_or(error.type)},
                       {"message", error.message},
                       {"param", nullptr},
                       {"sequence_number", sequence_}};
    return absl::StrCat("event: error\ndata: ", JsonText(data), "\n\n");
  }

  std::string End() override {
    std::string bytes = CloseItem(Finished());
    Json response = Response(Finished());
    if (!options_.stream) return JsonText(response);
    const std::string name = absl::StrCat("response.", Finished());
    return bytes + Event(name, {{"response", std::move(response)}});
  }

 protected:
  std::string OnDelta(size_t, PartsDelta delta) override {
    std::string bytes = Opening();
    // Tokens and parts do not meet exactly: those of a delta go with its first words.
    Json logprobs = options_.logprobs ? ChatLogprobs(tokenizer_, delta.tokens)["content"] : Json::array();
    for (const AnswerPart& part : delta.parts) {
      bytes += part.kind == Kind::kContent ? AddPart(part, std::exchange(logprobs, Json::array()))
                                           : AddPart(part, Json::array());
    }
    if (open_ == Kind::kReasoning) reasoning_tokens_ = generated_tokens();
    return bytes;
  }
  std::string OnFinish(size_t) override { return ""; }

 private:
  const char* Finished() const { return choice(0).finish() == FinishReason::kLength ? "incomplete" : "completed"; }

  Json Response(const std::string& status) const {
    Json response = options_.echoed;
    const bool cut = status == "incomplete";
    response.update({{"id", id_},
                     {"object", "response"},
                     {"created_at", created_},
                     {"status", status},
                     {"error", nullptr},
                     {"incomplete_details", cut ? Json{{"reason", "max_output_tokens"}} : Json(nullptr)},
                     {"model", options_.model},
                     {"output", output_},
                     {"usage", nullptr}});
    if (status == "in_progress") return response;
    response["usage"] = {
        {"input_tokens", options_.prompt_tokens},
        {"input_tokens_details", {{"cached_tokens", choice(0).text().cached_tokens()}, {"cache_write_tokens", 0}}},
        {"output_tokens", generated_tokens()},
        {"output_tokens_details", {{"reasoning_tokens", reasoning_tokens_}}},
        {"total_tokens", options_.prompt_tokens + generated_tokens()}};
    return response;
  }

  // "" unless the answer streams.
  std::string Event(const std::string& name, Json data) {
    if (!options_.stream) return "";
    data["type"] = name;
    data["sequence_number"] = sequence_++;
    return absl::StrCat("event: ", name, "\ndata: ", JsonText(data), "\n\n");
  }

  std::string Opening() {
    if (std::exchange(opened_, true)) return "";
    std::string bytes = Event("response.created", {{"response", Response("in_progress")}});
    return bytes += Event("response.in_progress", {{"response", Response("in_progress")}});
  }

  // Where an event belongs.
  Json Place(Json more) const {
    more["item_id"] = item_id_;
    more["output_index"] = output_.size();
    return more;
  }

  // The open item; empty while it is in progress.
  Json Item(const char* status) const {
    Json content = Json::array();
    if (status != absl::string_view("in_progress")) content.push_back(TextPart(*open_, text_, logprobs_));
    Json item = {{"id", item_id_}, {"status", status}, {"content", std::move(content)}};
    if (*open_ == Kind::kReasoning) {
      item.update({{"type", "reasoning"}, {"summary", Json::array()}});
    } else {
      item.update({{"type", "message"}, {"role", "assistant"}});
    }
    return item;
  }

  std::string OpenItem(Kind kind) {
    if (open_ == kind) return "";
    std::string bytes = CloseItem("completed");
    open_ = kind;
    item_id_ = NewId(kind == Kind::kReasoning ? "rs_" : "msg_");
    bytes += Event("response.output_item.added", {{"output_index", output_.size()}, {"item", Item("in_progress")}});
    return bytes + Event("response.content_part.added",
                         Place({{"content_index", 0}, {"part", TextPart(kind, "", Json::array())}}));
  }

  std::string CloseItem(const char* status) {
    if (!open_.has_value()) return "";
    Json done = {{"content_index", 0}, {"text", text_}};
    if (*open_ == Kind::kContent) done["logprobs"] = logprobs_;
    std::string bytes = Event(absl::StrCat(TextEvent(), ".done"), Place(std::move(done)));
    bytes += Event("response.content_part.done",
                   Place({{"content_index", 0}, {"part", TextPart(*open_, text_, logprobs_)}}));
    bytes += CloseWith(Item(status));
    open_.reset();
    text_.clear();
    logprobs_ = Json::array();
    return bytes;
  }

  std::string CloseWith(Json item) {
    std::string bytes = Event("response.output_item.done", {{"output_index", output_.size()}, {"item", item}});
    output_.push_back(std::move(item));
    return bytes;
  }

  const char* TextEvent() const {
    return *open_ == Kind::kReasoning ? "response.reasoning_text" : "response.output_text";
  }

  std::string AddPart(const AnswerPart& part, Json logprobs) {
    if (part.kind == Kind::kCall) return AddCall(part.call);
    std::string bytes = OpenItem(part.kind);
    text_ += part.text;
    Json delta = {{"content_index", 0}, {"delta", part.text}};
    for (const Json& one : logprobs) logprobs_.push_back(one);
    if (part.kind == Kind::kContent) delta["logprobs"] = std::move(logprobs);
    return bytes + Event(absl::StrCat(TextEvent(), ".delta"), Place(std::move(delta)));
  }

  std::string AddCall(const ToolCall& call) {
    std::string bytes = CloseItem("completed");
    item_id_ = NewId("fc_");
    Json item = {{"id", item_id_},    {"type", "function_call"}, {"call_id", NewId("call_")},
                 {"name", call.name}, {"arguments", ""},         {"status", "in_progress"}};
    bytes += Event("response.output_item.added", {{"output_index", output_.size()}, {"item", item}});
    bytes += Event("response.function_call_arguments.delta", Place({{"delta", call.arguments}}));
    bytes +=
        Event("response.function_call_arguments.done", Place({{"arguments", call.arguments}, {"name", call.name}}));
    item["arguments"] = call.arguments;
    item["status"] = "completed";
    return bytes + CloseWith(std::move(item));
  }

  const ResponseAnswerOptions options_;
  const std::string id_;
  const int64_t created_;
  Json output_ = Json::array();  // Items that are complete.
  bool opened_ = false;
  std::optional<Kind> open_;  // The item that grows.
  std::string item_id_;
  std::string text_;               // Of the item that grows.
  Json logprobs_ = Json::array();  // Likewise.
  int64_t reasoning_tokens_ = 0;   // Up to the last that was thought.
  int64_t sequence_ = 0;
};

}  // namespace

Json EchoedFields(const Json& body) {
  Json echoed = {{"instructions", nullptr},
                 {"max_output_tokens", nullptr},
                 {"metadata", Json::object()},
                 {"parallel_tool_calls", true},
                 {"previous_response_id", nullptr},
                 {"reasoning", {{"effort", nullptr}, {"summary", nullptr}}},
                 {"temperature", 1.0},
                 {"text", {{"format", {{"type", "text"}}}}},
                 {"tool_choice", "auto"},
                 {"tools", Json::array()},
                 {"top_logprobs", 0},
                 {"top_p", 1.0},
                 {"truncation", "disabled"},
                 {"user", nullptr}};
  for (auto& [key, value] : echoed.items()) {
    const auto found = body.find(key);
    if (found != body.end() && !found->is_null()) value = *found;
  }
  echoed["store"] = false;  // Nothing is kept.
  return echoed;
}

std::unique_ptr<Answer> MakeResponseAnswer(const Tokenizer& tokenizer, ResponseAnswerOptions options) {
  return std::make_unique<ResponseAnswer>(tokenizer, std::move(options));
}

}  // namespace barn
