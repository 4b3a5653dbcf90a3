#pragma once

#include <memory>
#include <string>

#include "coordinator/http/answer.h"
#include "coordinator/http/choice_parts.h"

namespace barn {

struct MessageAnswerOptions {
  std::string model;  // The name to report.
  bool stream = false;
  AnswerShape shape;
  int64_t prompt_tokens = 0;
};

// The answer of /v1/messages: one message of thinking, text and tool_use blocks. `tokenizer` outlives it.
std::unique_ptr<Answer> MakeMessageAnswer(const Tokenizer& tokenizer, MessageAnswerOptions options);

}  // namespace barn
