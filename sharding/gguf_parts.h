#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace barn {

// The references of all parts of a model, in order, given any part: NAME-00002-of-00003.gguf names three files. The
// pattern may be followed by a URL's query. Any other reference is a model of one part. InvalidArgument: impossible
// numbers.
absl::StatusOr<std::vector<std::string>> PartReferences(std::string_view reference);

}  // namespace barn
