#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "coordinator/http/choice_text.h"
#include "coordinator/text/tokenizer.h"

namespace barn {

// Log probabilities as the OpenAI dialect words them. Tokens that are only part of a character read "bytes:\xe6\x97".
std::string TokenName(const Tokenizer& tokenizer, int32_t id);

// {"tokens", "token_logprobs", "top_logprobs", "text_offset"}: parallel lists. The offset counts code points of the
// choice's text. `top_logprobs` is null if none were asked for; otherwise each entry has the drawn token, too.
nlohmann::json CompletionLogprobs(const Tokenizer& tokenizer, const std::vector<TextToken>& tokens, bool with_top);

// {"content": [{"token", "bytes", "logprob", "top_logprobs"}], "refusal": null}.
nlohmann::json ChatLogprobs(const Tokenizer& tokenizer, const std::vector<TextToken>& tokens);

}  // namespace barn
