#pragma once

#include <vector>

#include "absl/status/status.h"
#include "coordinator/text/grammar/rules.h"

namespace barn::grammar {

// What holds of every expression, by node.
struct Analysis {
  std::vector<bool> nullable;    // Matches the empty text.
  std::vector<bool> productive;  // Matches at least one text. Others are dead ends.
};

// Time is linear in the size of the rules. Every rule is defined.
Analysis Analyze(const Rules& rules);

// Rewrites repetitions whose part may be empty so that each round matches something, which changes no language:
// a matcher then never goes round a loop in place. Adds expressions and rules.
void Normalize(Rules& rules);

// InvalidArgument that names a rule which begins with itself, directly or through others: a matcher that goes from left
// to right would never get past it.
absl::Status RefuseLeftRecursion(const Rules& rules, const Analysis& analysis);

}  // namespace barn::grammar
