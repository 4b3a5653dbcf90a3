#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace barn {

// Finds any of some strings in a text that comes byte by byte. Constant time per byte and string on average (Knuth,
// Morris and Pratt 1977).
class PatternMatcher {
 public:
  explicit PatternMatcher(std::vector<std::string> patterns);  // Empty ones never match.

  // The next byte. Returns the longest pattern that ends with it, so the one that begins first; null if none does.
  const std::string* Push(char byte);
  // Bytes at the end of the text that may still become a pattern.
  size_t partial_bytes() const;
  // The text begins anew.
  void Reset();

 private:
  struct Pattern {
    std::string text;
    std::vector<size_t> border;  // [i]: length of the longest proper prefix of text[0, i] that also ends it.
    size_t matched_bytes = 0;    // Longest proper prefix that the text ends with now.
  };
  std::vector<Pattern> patterns_;
};

}  // namespace barn
