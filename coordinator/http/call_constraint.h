#pragma once

#include <optional>

#include "coordinator/http/api_error.h"
#include "coordinator/http/chat_request.h"
#include "coordinator/http/served_model.h"
#include "coordinator/text/grammar/matcher.h"

namespace barn {

// Holds a chat's answer to right calls of its tools where tool_choice asks for a call or a tool is strict, and to the
// schema of response_format where calls or reasoning may stand beside such an answer. Otherwise leaves `constraint`
// alone. 400: a schema that cannot be kept, or a model whose calls have no known form.
std::optional<ApiError> HoldToCalls(const ServedModel& model, const ChatRequest& request, bool in_reasoning,
                                    grammar::Constraint& constraint);

}  // namespace barn
