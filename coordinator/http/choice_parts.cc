#include "coordinator/http/choice_parts.h"

#include <iterator>
#include <utility>

namespace barn {
namespace {

const AnswerFormat& FormatOf(const AnswerShape& shape) {
  static const auto* plain = new AnswerFormat();
  return shape.format == nullptr ? *plain : *shape.format;
}

}  // namespace

const std::string* PartsDelta::content() const {
  for (const AnswerPart& part : parts) {
    if (part.kind == AnswerPart::Kind::kContent) return &part.text;
  }
  return nullptr;
}

ChoiceParts::ChoiceParts(const Tokenizer& tokenizer, const AnswerShape& shape)
    : text_(tokenizer, shape.stop, shape.format == nullptr ? nullptr : &shape.format->shown),
      parser_(MakeAnswerParser(FormatOf(shape), shape.parser)) {}

FinishReason ChoiceParts::finish() const {
  if (text_.done()) return text_.finish();
  return parser_->ended() ? FinishReason::kEnd : FinishReason::kNone;
}

PartsDelta ChoiceParts::Add(const RequestUpdate& update) {
  PartsDelta delta;
  if (done()) return delta;
  TextDelta text = text_.Add(update);
  delta.tokens = std::move(text.tokens);
  delta.parts = parser_->Push(text.text);
  if (text_.done() && !parser_->ended()) {
    std::vector<AnswerPart> rest = parser_->Finish();
    std::move(rest.begin(), rest.end(), std::back_inserter(delta.parts));
  }
  for (const AnswerPart& part : delta.parts) calls_ += part.kind == AnswerPart::Kind::kCall ? 1 : 0;
  return delta;
}

void WholeChoice::Append(PartsDelta delta) {
  std::move(delta.tokens.begin(), delta.tokens.end(), std::back_inserter(tokens));
  for (AnswerPart& part : delta.parts) {
    switch (part.kind) {
      case AnswerPart::Kind::kReasoning:
        reasoning += part.text;
        break;
      case AnswerPart::Kind::kContent:
        content += part.text;
        break;
      case AnswerPart::Kind::kCall:
        calls.push_back(part.call);
        parts.push_back(std::move(part));
        continue;
    }
    AppendPart(part.kind, part.text, parts);
  }
}

}  // namespace barn
