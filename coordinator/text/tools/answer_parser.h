#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "coordinator/text/tools/answer_format.h"
#include "coordinator/text/tools/answer_part.h"
#include "coordinator/text/tools/call_reader.h"

namespace barn {

struct AnswerParserOptions {
  std::vector<ToolSpec> tools = {};  // What may be called; with none, calls are ordinary text.
  bool one_call = false;             // The answer ends after the first call.
  bool in_reasoning = false;         // The prompt has begun the reasoning already.
};

// Takes an answer apart while it grows. What looks like a call but is none comes back as content, bytes unchanged.
// Linear in the length of the answer. One thread.
class AnswerParser {
 public:
  virtual ~AnswerParser() = default;

  // The next text of the answer. A call is given once it is complete and right.
  virtual std::vector<AnswerPart> Push(std::string_view text) = 0;
  // The end of the answer: what was held back.
  virtual std::vector<AnswerPart> Finish() = 0;
  // Nothing that follows matters: one_call, and the call is there.
  virtual bool ended() const = 0;
};

std::unique_ptr<AnswerParser> MakeAnswerParser(const AnswerFormat& format, AnswerParserOptions options);

// Adds text to the last part if that is of the same kind. No part is ever empty.
void AppendPart(AnswerPart::Kind kind, std::string_view text, std::vector<AnswerPart>& parts);

}  // namespace barn
