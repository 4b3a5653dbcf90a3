#pragma once

#include <optional>
#include <string>
#include <vector>

#include "coordinator/text/grammar/grammar.h"
#include "coordinator/text/tokenizer.h"
#include "coordinator/text/tools/answer_format.h"

namespace barn {

// A tool and the JSON schema of its arguments, which must be an object.
struct CallableTool {
  std::string name;
  std::string schema;
};

struct CallGrammarOptions {
  bool must_call = true;      // The answer is a call, after reasoning at most; else text without one is right, too.
  bool several = false;       // More calls may follow the first.
  bool in_reasoning = false;  // The prompt has begun the reasoning already.
  bool may_reason = true;     // With must_call: reasoning may come first.
  // With must_call: a JSON value of this schema is right in place of calls, too; without tools it is the only answer.
  std::optional<std::string> answer_schema = {};
};

// The answers in which every call names one of `tools` and has arguments of its schema, in the form that the family's
// parser reads. None where such a grammar cannot be: nothing to call and no answer_schema, a family without calls, or,
// unless must_call, one whose calls begin like other answers (Llama 3).
std::optional<grammar::Source> CallGrammar(const AnswerFormat& format, const Tokenizer& tokenizer,
                                           const std::vector<CallableTool>& tools, const CallGrammarOptions& options);

}  // namespace barn
