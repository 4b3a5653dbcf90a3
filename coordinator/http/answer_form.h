#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/http/api_error.h"
#include "coordinator/http/fields.h"
#include "coordinator/text/grammar/grammar.h"

namespace barn {

// What an answer is held to.
struct AnswerForm {
  std::string field = {};                     // The field that asks for it; empty: the answer is free.
  std::vector<std::string> schema_path = {};  // Where its schema stands in the body; empty: it has none.
  grammar::Source source = {};                // Complete after ReadSchema().
};

// OpenAI's response_format, and grammar: a GBNF text.
void ReadAnswerForm(Fields& fields, AnswerForm& form);

// Ollama's format: "json" or a schema.
void ReadOllamaFormat(Fields& fields, AnswerForm& form);

// Completes the form's source from the same body as text, which keeps the properties of a schema in their order.
std::optional<ApiError> ReadSchema(std::string_view body, AnswerForm& form);

}  // namespace barn
