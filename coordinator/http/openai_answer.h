#pragma once

#include <memory>
#include <string>
#include <vector>

#include "coordinator/http/answer.h"
#include "coordinator/http/choice_parts.h"
#include "coordinator/text/tokenizer.h"

namespace barn {

// How an answer of the OpenAI dialect shall look.
struct OpenAiAnswerOptions {
  std::string model;  // The name to report.
  bool stream = false;
  bool include_usage = false;
  bool logprobs = false;
  int top_logprobs = 0;
  AnswerShape shape;
  size_t choices = 1;
  size_t choices_per_prompt = 1;
  int64_t prompt_tokens = 0;  // Each prompt once, whatever n is.
};

// A prompt that the answer repeats.
struct EchoedPrompt {
  std::string text;
  std::vector<TextToken>
      tokens;  // Without logprobs: filled in from the engine's prompt scores. Empty if not asked for.
};

// The answer of /v1/completions. `echo`: empty, or one for each choice. `tokenizer` must outlive it.
std::unique_ptr<Answer> MakeCompletionAnswer(const Tokenizer& tokenizer, OpenAiAnswerOptions options,
                                             std::vector<EchoedPrompt> echo);

// The answer of /v1/chat/completions. `tokenizer` must outlive it.
std::unique_ptr<Answer> MakeChatAnswer(const Tokenizer& tokenizer, OpenAiAnswerOptions options);

}  // namespace barn
