#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace barn {

inline constexpr char kEmbeddedModelName[] = "tiny-moe";

// Writes the model that is built into this binary under `barn_home`/models once and returns its path. A file of the
// right size is kept. PermissionDenied, ResourceExhausted.
absl::StatusOr<std::string> EmbeddedModelFile(const std::string& barn_home);

}  // namespace barn
