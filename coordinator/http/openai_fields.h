#pragma once

#include "coordinator/http/fields.h"
#include "coordinator/http/openai_request.h"

namespace barn {

// Reads what both kinds of request have in common, but max_tokens and logprobs.
void ReadShared(Fields& fields, SharedFields& shared);

// A string or a list of strings, each of a length from 1 to kStopBytesMax, from the field `name`.
void ReadStopList(Fields& fields, absl::string_view name, const nlohmann::json& value, std::vector<std::string>& stop);

// How much a model shall reason: none, minimal, low, medium, high, xhigh or max.
std::optional<std::string> ReadEffort(Fields& fields, absl::string_view name);

// {"effort": ..., "max_tokens": N}: how much, and how many tokens of it.
void ReadReasoning(Fields& fields, ChatRequest& request);

}  // namespace barn
