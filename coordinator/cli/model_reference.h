#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace barn {

// A model as a user names it, found.
struct ModelReference {
  std::string location;  // Path or URL, as OpenStore takes it.
  std::string id;        // What /v1/models calls it: the file name without its ending, or the catalogue name.
};

// BARN_HOME, else ~/.barn.
std::string BarnHome();

// Resolves a path, an http(s) URL, or a catalogue name (tiny-moe, also when `reference` is empty). NotFound names the
// reference and what would be accepted.
absl::StatusOr<ModelReference> ResolveModel(std::string_view reference);

}  // namespace barn
