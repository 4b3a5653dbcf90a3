#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "coordinator/text/grammar/rules.h"

namespace barn::grammar {

// Reads a grammar in GBNF (see Source) into `rules`, which may hold defined rules that it refers to. InvalidArgument
// with line and column, counted from 1: syntax, a rule that is defined twice or nowhere.
absl::Status ParseGbnf(std::string_view source, Rules& rules);

}  // namespace barn::grammar
