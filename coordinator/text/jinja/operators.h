#pragma once

#include <string_view>

#include "coordinator/text/jinja/builtins.h"

namespace barn::jinja {

// + - ~ * / // % ** as Python has them for numbers, texts and lists; Fail for others, and for integers beyond 64 bits.
Value Binary(Context& context, std::string_view operation, const Value& a, const Value& b);
// ==, !=, <, <=, >, >=, in, not in.
bool Compare(Context& context, std::string_view operation, const Value& a, const Value& b);
// subject[start:stop:step]; bounds may be none or undefined.
Value Slice(Context& context, const Value& subject, const Value& start, const Value& stop, const Value& step);

}  // namespace barn::jinja
