#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "coordinator/text/jinja/syntax.h"

namespace barn::jinja {

// The statements of a template. InvalidArgument, with line and construct: what is not Jinja, what this engine does not
// know (include, import, extends, block, recursive loops, unknown filters and tests), and what is nested too deeply.
absl::StatusOr<Body> ParseTemplate(std::string_view source);

}  // namespace barn::jinja
