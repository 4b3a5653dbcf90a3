#pragma once

#include <cstdint>
#include <vector>
#include "absl/strings/string_view.h"

#include "absl/status/statusor.h"

namespace barn {

// "1,2,3" or "1 2 3" as token ids in [0, vocabulary). InvalidArgument names the word.
absl::StatusOr<std::vector<int32_t>> ParseTokenIds(absl::string_view text, int64_t vocabulary);

}  // namespace barn
