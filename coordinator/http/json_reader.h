#pragma once

#include <cstdint>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace barn {

// Bounds of a JSON text from outside. A value costs at most about 100 bytes of memory, so 2 million of them stay below
// 200 MB.
struct JsonLimits {
  int depth_max = 64;
  int64_t values_max = 2'000'000;
};

// Parses one JSON text. InvalidArgument, with the byte position, for: syntax, numbers beyond a double, broken UTF-8,
// the same key twice in one object (readers disagree on which one counts), nesting or size beyond the limits.
absl::StatusOr<nlohmann::json> ReadJson(absl::string_view text, const JsonLimits& limits = {});

}  // namespace barn
