#pragma once

#include <memory>
#include <string>

#include "absl/time/time.h"
#include "coordinator/http/answer.h"
#include "coordinator/http/choice_parts.h"

namespace barn {

struct OllamaAnswerOptions {
  std::string model;  // The name to report.
  bool stream = false;
  bool chat = false;  // /api/chat; else /api/generate.
  bool logprobs = false;
  AnswerShape shape;
  int64_t prompt_tokens = 0;
  absl::Time start;  // When the request came.
};

// The answer of /api/chat and /api/generate: lines of JSON, or one object. `tokenizer` outlives it.
std::unique_ptr<Answer> MakeOllamaAnswer(const Tokenizer& tokenizer, OllamaAnswerOptions options);

// A time as Ollama writes it: RFC 3339 in UTC.
std::string OllamaTime(absl::Time time);

}  // namespace barn
