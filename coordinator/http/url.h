#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace barn {

// Replaces %XX by the byte it names (RFC 3986, section 2.1); a lone % stays.
std::string PercentDecode(absl::string_view text);

}  // namespace barn
