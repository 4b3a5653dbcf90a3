#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "coordinator/text/pattern_matcher.h"
#include "coordinator/text/tokenizer.h"

namespace barn {

// Watches the tokens of an answer for strings that must not appear in it, whatever the case of ASCII letters. Tokens
// that may become part of one are held; nobody may see them before they are free.
class BannedStrings {
 public:
  // Empty strings are no strings. Borrows `tokenizer`.
  BannedStrings(const std::vector<std::string>& strings, const Tokenizer& tokenizer);

  // Takes the next token. Returns how many of the newest tokens, this one among them, must be taken back because a
  // string is complete that began in the oldest of them, or before it in tokens that are free; 0 if none is. They are
  // forgotten here.
  int64_t Push(int32_t id);
  // Newest tokens that are held.
  int64_t held() const { return static_cast<int64_t>(held_.size()); }

 private:
  void Settle();

  const Tokenizer& tokenizer_;
  PatternMatcher matcher_;
  size_t longest_bytes_ = 0;
  std::string before_;            // The last bytes in front of what is held: a string may begin there.
  std::deque<std::string> held_;  // The bytes of each, in lower case.
};

}  // namespace barn
