#pragma once

#include <string>
#include <vector>

#include "coordinator/text/tools/answer_parser.h"

namespace barn {

// Answers in which markers stand around the reasoning, at the start, and around each call.
class TaggedParser final : public AnswerParser {
 public:
  TaggedParser(const AnswerFormat& format, AnswerParserOptions options);

  std::vector<AnswerPart> Push(std::string_view text) override;
  std::vector<AnswerPart> Finish() override;
  bool ended() const override { return ended_; }

 private:
  enum class State { kStart, kReasoning, kContent, kCall };

  // Each takes what it can from held_; false when it needs more text.
  bool Start(bool last, std::vector<AnswerPart>& parts);
  bool Reasoning(bool last, std::vector<AnswerPart>& parts);
  bool Content(bool last, std::vector<AnswerPart>& parts);
  bool Call(bool last, std::vector<AnswerPart>& parts);

  void Run(bool last, std::vector<AnswerPart>& parts);
  void Say(AnswerPart::Kind kind, std::string_view text, std::vector<AnswerPart>& parts);
  void EndCall(size_t body_bytes, size_t end_bytes, std::vector<AnswerPart>& parts);

  const CallSyntax& syntax_;
  const CallFamily family_;
  const std::string think_begin_;
  const std::string think_end_;
  const AnswerParserOptions options_;
  std::vector<std::string> content_markers_;  // Those that begin a call, then those that say nothing.
  State state_;
  std::string held_;     // Not decided yet.
  std::string space_;    // White space that a call or the end of the reasoning may still swallow.
  std::string begin_;    // The marker that began the call.
  size_t searched_ = 0;  // Of held_, in a call: no end marker begins before it.
  bool trim_ = false;    // White space at the next text is dropped.
  bool called_ = false;
  bool ended_ = false;
};

}  // namespace barn
