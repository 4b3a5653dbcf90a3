#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace barn::jinja {

// Strings count, index and slice by code points, as Python's do. Broken UTF-8 reads as U+FFFD per broken part.

// The code point at `at`, which moves behind it. at < text.size().
uint32_t NextCodePoint(std::string_view text, size_t& at);
void AppendUtf8(uint32_t point, std::string& out);
size_t CountCodePoints(std::string_view text);
// Where code point `index` begins; text.size() if there are fewer.
size_t OffsetOf(std::string_view text, size_t index);

}  // namespace barn::jinja
