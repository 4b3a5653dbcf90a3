#pragma once

#include <string>
#include <vector>

#include "coordinator/text/grammar/grammar.h"
#include "coordinator/text/tokenizer.h"
#include "coordinator/text/tools/answer_format.h"

namespace barn {

// A tool and the JSON schema of its arguments.
struct CallableTool {
  std::string name;
  std::string schema;
};

struct CallGrammarOptions {
  bool several = false;       // More than one call, where the family can.
  bool in_reasoning = false;  // The prompt has begun the reasoning already.
};

// What an answer may be that has to call one of the tools: reasoning, if the model does that, then calls as its family
// writes them. `format.family` is not kNone.
grammar::Source CallGrammar(const AnswerFormat& format, const Tokenizer& tokenizer,
                            const std::vector<CallableTool>& tools, const CallGrammarOptions& options);

}  // namespace barn
