#include "coordinator/http/anthropic/message_answer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/http/choices_answer.h"
#include "coordinator/http/json_reply.h"

namespace barn {
namespace {

using Json = nlohmann::json;
using Kind = AnswerPart::Kind;

std::string Event(const Json& data) {
  return absl::StrCat("event: ", data["type"].get_ref<const std::string&>(), "\ndata: ", JsonText(data), "\n\n");
}

Json EmptyBlock(Kind kind) {
  if (kind == Kind::kReasoning) return {{"type", "thinking"}, {"thinking", ""}, {"signature", ""}};
  return {{"type", "text"}, {"text", ""}};
}

Json CallBlock(const ToolCall& call, Json input) {
  return {{"type", "tool_use"}, {"id", NewId("toolu_")}, {"name", call.name}, {"input", std::move(input)}};
}

Json Block(const AnswerPart& part) {
  if (part.kind == Kind::kCall) return CallBlock(part.call, Json::parse(part.call.arguments));
  Json block = EmptyBlock(part.kind);
  block[part.kind == Kind::kReasoning ? "thinking" : "text"] = part.text;
  return block;
}

class MessageAnswer final : public ChoicesAnswer {
 public:
  MessageAnswer(const Tokenizer& tokenizer, MessageAnswerOptions options)
      : ChoicesAnswer(tokenizer, options.shape, 1, options.stream), options_(std::move(options)), id_(NewId("msg_")) {}

  std::string KeepAlive() override { return Opening() + Event({{"type", "ping"}}); }

  std::string Failure(const ApiError& error) const override {
    return absl::StrCat("event: error\ndata: ", ErrorBody(error, Dialect::kAnthropic), "\n\n");
  }

  std::string End() override {
    if (!options_.stream) {
      Json message = Message();
      for (const AnswerPart& part : whole_.parts) message["content"].push_back(Block(part));
      message.update(Stop());
      return JsonText(message);
    }
    Json usage = Usage();
    return absl::StrCat(CloseBlock(),
                        Event({{"type", "message_delta"}, {"delta", Stop()}, {"usage", std::move(usage)}}),
                        Event({{"type", "message_stop"}}));
  }

 protected:
  std::string OnDelta(size_t, PartsDelta delta) override {
    if (!options_.stream) {
      whole_.Append(std::move(delta));
      return "";
    }
    std::string bytes = Opening();
    for (const AnswerPart& part : delta.parts) bytes += PartEvents(part);
    return bytes;
  }
  std::string OnFinish(size_t) override { return ""; }

 private:
  // In this dialect the tokens of the prompt that were there already are counted apart.
  Json Usage() const {
    const int64_t cached = choice(0).text().cached_tokens();
    return {{"input_tokens", options_.prompt_tokens - cached},
            {"cache_creation_input_tokens", 0},
            {"cache_read_input_tokens", cached},
            {"output_tokens", generated_tokens()}};
  }

  Json Message() const {
    return {{"id", id_},
            {"type", "message"},
            {"role", "assistant"},
            {"model", options_.model},
            {"content", Json::array()},
            {"stop_reason", nullptr},
            {"stop_sequence", nullptr},
            {"usage", Usage()}};
  }

  Json Stop() const {
    const std::string& stop = choice(0).text().stop_string();
    const char* reason = "end_turn";
    if (choice(0).called()) {
      reason = "tool_use";
    } else if (!stop.empty()) {
      reason = "stop_sequence";
    } else if (choice(0).finish() == FinishReason::kLength) {
      reason = "max_tokens";
    }
    return {{"stop_reason", reason}, {"stop_sequence", stop.empty() ? Json(nullptr) : Json(stop)}};
  }

  std::string Opening() {
    if (std::exchange(opened_, true)) return "";
    return Event({{"type", "message_start"}, {"message", Message()}});
  }

  std::string OpenBlock(Kind kind, Json block) {
    if (open_ == kind && kind != Kind::kCall) return "";
    std::string bytes = CloseBlock();
    open_ = kind;
    return bytes + Event({{"type", "content_block_start"}, {"index", blocks_}, {"content_block", std::move(block)}});
  }

  std::string CloseBlock() {
    if (!open_.has_value()) return "";
    open_.reset();
    return Event({{"type", "content_block_stop"}, {"index", blocks_++}});
  }

  std::string BlockDelta(Json delta) const {
    return Event({{"type", "content_block_delta"}, {"index", blocks_}, {"delta", std::move(delta)}});
  }

  std::string PartEvents(const AnswerPart& part) {
    if (part.kind == Kind::kCall) {
      std::string bytes = OpenBlock(part.kind, CallBlock(part.call, Json::object()));
      bytes += BlockDelta({{"type", "input_json_delta"}, {"partial_json", part.call.arguments}});
      return bytes + CloseBlock();
    }
    std::string bytes = OpenBlock(part.kind, EmptyBlock(part.kind));
    if (part.kind == Kind::kReasoning) return bytes + BlockDelta({{"type", "thinking_delta"}, {"thinking", part.text}});
    return bytes + BlockDelta({{"type", "text_delta"}, {"text", part.text}});
  }

  const MessageAnswerOptions options_;
  const std::string id_;
  WholeChoice whole_;
  bool opened_ = false;
  size_t blocks_ = 0;         // Closed ones.
  std::optional<Kind> open_;  // The block that is open.
};

}  // namespace

std::unique_ptr<Answer> MakeMessageAnswer(const Tokenizer& tokenizer, MessageAnswerOptions options) {
  return std::make_unique<MessageAnswer>(tokenizer, std::move(options));
}

}  // namespace barn
