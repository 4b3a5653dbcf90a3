#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace barn {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD.

enum class Utf8Kind {
  kCharacter,   // A well-formed character.
  kBroken,      // Bytes that no character starts with: one U+FFFD stands for them.
  kIncomplete,  // The text ends inside of a character that is well-formed so far.
};

struct Utf8Step {
  size_t bytes = 0;
  Utf8Kind kind = Utf8Kind::kCharacter;
};

// Looks at the start of `text`, which is not empty. A broken sequence is as long as the Unicode Standard's "maximal
// subpart" (section 3.9, table 3-7).
Utf8Step ReadUtf8(std::string_view text);

// The number of bytes of the longest well-formed prefix.
size_t WellFormedPrefix(std::string_view text);

// `text` with U+FFFD in place of what is not well-formed.
std::string ReplaceBrokenUtf8(std::string_view text);

}  // namespace barn
