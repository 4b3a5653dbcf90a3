#pragma once

#include <string>
#include <vector>

#include "coordinator/text/tools/answer_parser.h"

namespace barn {

// Answers of gpt-oss: messages with a channel each. "analysis" is reasoning, a message to functions.NAME is a call, all
// others are content.
class HarmonyParser final : public AnswerParser {
 public:
  explicit HarmonyParser(AnswerParserOptions options) : options_(std::move(options)) {}

  std::vector<AnswerPart> Push(std::string_view text) override;
  std::vector<AnswerPart> Finish() override;
  bool ended() const override { return ended_; }

 private:
  enum class State { kHeader, kReasoning, kContent, kCall };

  void Run(bool last, std::vector<AnswerPart>& parts);
  bool Header(bool last, std::vector<AnswerPart>& parts);
  bool Body(bool last, std::vector<AnswerPart>& parts);
  void ReadHeader(std::string_view header);
  void EndMessage(std::vector<AnswerPart>& parts);

  const AnswerParserOptions options_;
  State state_ = State::kHeader;
  std::string held_;
  std::string tool_;  // Of the call.
  std::string body_;  // Of the call.
  bool ended_ = false;
};

}  // namespace barn
