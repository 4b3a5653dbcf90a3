#pragma once

#include <memory>
#include <string>

#include "absl/time/time.h"
#include "coordinator/http/answer.h"
#include "coordinator/http/choice_parts.h"

namespace barn {

struct NativeAnswerOptions {
  std::string model;  // The name to report.
  bool stream = false;
  bool logprobs = false;
  AnswerShape shape;
  int64_t prompt_tokens = 0;
  absl::Time start;  // When the request came.
};

// The answer of /completion and /infill: events that each hold a piece ("content", "tokens", "stop": false) and a last
// one with the counts and times of the answer, or one object of all. `tokenizer` outlives it.
std::unique_ptr<Answer> MakeNativeAnswer(const Tokenizer& tokenizer, NativeAnswerOptions options);

}  // namespace barn
