#pragma once

#include "coordinator/http/fields.h"
#include "coordinator/http/openai_request.h"

namespace barn {

// Reads what both kinds of request have in common, but max_tokens and logprobs.
void ReadShared(Fields& fields, SharedFields& shared);

}  // namespace barn
