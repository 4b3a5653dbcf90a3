#pragma once

#include <string>
#include <string_view>

#include "coordinator/text/jinja/builtins.h"

namespace barn::jinja {

// What filters and methods of strings share. Case follows ASCII letters; others stay as they are.

enum class Side { kBoth, kLeft, kRight };

// Without the characters of `set` (Unicode's white space when null) at the ends.
std::string_view Strip(std::string_view text, const std::string* set, Side side);
std::string Replace(Context& context, std::string_view text, std::string_view from, std::string_view to, int64_t most);
std::string Title(std::string_view text);
std::string Capitalize(std::string_view text);
// Lines without their ends; with them where `keep`.
List SplitLines(Context& context, std::string_view text, bool keep);
// As filter and method `format` of %s, %d, %r, %f and %%.
Value FormatPercent(Context& context, std::string_view format, const List& values);

}  // namespace barn::jinja
