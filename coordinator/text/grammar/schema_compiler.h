#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "coordinator/text/grammar/rules.h"

namespace barn::grammar {

// The JSON texts of the values that a JSON schema (Draft 2020-12) describes, as an expression.
//
// Objects have their properties in the order of `properties`, then additional ones. Every value that is made meets the
// schema; of those that meet it, the ones are left out that only other spellings, another order of keys or numbers of
// very many digits would reach. Whatever cannot be kept is refused, with InvalidArgument and the JSON path: keywords
// that are not supported, and combinations (a pattern beside a length; branches of oneOf that may both match).
absl::StatusOr<Node> CompileSchema(std::string_view schema, Rules& rules);

}  // namespace barn::grammar
