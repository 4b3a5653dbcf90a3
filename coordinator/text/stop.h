#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "coordinator/text/pattern_matcher.h"

namespace barn {

// Ends an answer at the first of its stop strings, however the text arrives in parts: what may still become a stop
// string is held back.
class StopMatcher {
 public:
  explicit StopMatcher(std::vector<std::string> stops);  // Empty ones never match.

  struct Result {
    std::string text;      // To emit: nothing of a stop string, and no part of one that may still come.
    bool stopped = false;  // A stop string is complete; what follows is to be thrown away.
  };

  // The next part of the text. After a stop nothing is emitted any more.
  Result Push(std::string_view text);
  // The end of the text: what was held back.
  std::string Flush();

  bool stopped() const { return !matched_.empty(); }
  const std::string& matched() const { return matched_; }  // The stop string that ended it; empty if none did.

 private:
  PatternMatcher patterns_;
  std::string held_;
  std::string matched_;
};

}  // namespace barn
