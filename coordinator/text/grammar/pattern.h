#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "coordinator/text/grammar/json_text.h"
#include "coordinator/text/grammar/rules.h"

namespace barn::grammar {

// The strings that a regular expression of a schema's `pattern` finds a match in (ECMA-262, section 22.2, what is
// regular of it), as the characters between the quotes of a JSON string. Where that dialect and Python's differ, only
// what both match is made: \d, \w and \s and their opposites are of ASCII, "." leaves out all ends of lines.
// InvalidArgument names what is not supported and where: back references, look-around, \b, \p, anchors other than a ^
// that begins and a $ that ends a top-level alternative.
absl::StatusOr<Node> CompilePattern(std::string_view pattern, Rules& rules, JsonText& json);

// The pattern of a `format`; empty for one that is not supported.
std::string_view FormatPattern(std::string_view format);
inline constexpr char kFormats[] = "date, time, date-time, duration, email, hostname, ipv4, ipv6, uuid";

}  // namespace barn::grammar
