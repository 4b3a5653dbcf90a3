#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace barn {

// Replaces %XX by the byte it names (RFC 3986, section 2.1); a lone % stays.
std::string PercentDecode(absl::string_view text);

// What a GGUF file is called for people: the last part of its path or URL without the ending, without a query, and
// without the number of a part.
std::string FileStem(absl::string_view location);

}  // namespace barn
