#pragma once

#include <memory>
#include <string>
#include <vector>

#include "coordinator/http/choice_text.h"
#include "coordinator/text/tools/answer_parser.h"

namespace barn {

// How the text of an answer is to be taken apart.
struct AnswerShape {
  const AnswerFormat* format = nullptr;  // Null: all of it is content. Outlives the answer.
  AnswerParserOptions parser = {};
  std::vector<std::string> stop = {};
};

// What one choice grew by.
struct PartsDelta {
  std::vector<AnswerPart> parts;
  std::vector<TextToken> tokens;  // Of text that may still be held back as part of a call.

  const std::string* content() const;  // Of the first part that is content.
};

// One choice of an answer as it grows: thoughts, content and calls. One thread.
class ChoiceParts {
 public:
  ChoiceParts(const Tokenizer& tokenizer, const AnswerShape& shape);

  PartsDelta Add(const RequestUpdate& update);

  bool done() const { return finish() != FinishReason::kNone; }
  FinishReason finish() const;
  bool called() const { return calls_ > 0; }
  size_t calls() const { return calls_; }
  ChoiceText& text() { return text_; }
  const ChoiceText& text() const { return text_; }

 private:
  ChoiceText text_;
  std::unique_ptr<AnswerParser> parser_;
  size_t calls_ = 0;
};

// All that a choice said, for answers that are not streamed.
struct WholeChoice {
  std::string reasoning;
  std::string content;
  std::vector<ToolCall> calls;
  std::vector<AnswerPart> parts;  // The same in order.
  std::vector<TextToken> tokens;

  void Append(PartsDelta delta);
};

}  // namespace barn
