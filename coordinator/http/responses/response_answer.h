#pragma once

#include <memory>
#include <string>

#include <nlohmann/json.hpp>

#include "coordinator/http/answer.h"
#include "coordinator/http/choice_parts.h"

namespace barn {

struct ResponseAnswerOptions {
  std::string model;      // The name to report.
  nlohmann::json echoed;  // Fields of the request that the answer repeats.
  bool stream = false;
  bool logprobs = false;
  AnswerShape shape;
  int64_t prompt_tokens = 0;
};

// The fields that an answer of /v1/responses repeats from its request, with the defaults of those that are absent.
nlohmann::json EchoedFields(const nlohmann::json& body);

// The answer of /v1/responses: items of reasoning, message and function_call. `tokenizer` outlives it.
std::unique_ptr<Answer> MakeResponseAnswer(const Tokenizer& tokenizer, ResponseAnswerOptions options);

}  // namespace barn
