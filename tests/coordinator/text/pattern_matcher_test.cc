#include "coordinator/text/pattern_matcher.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace barn {
namespace {

TEST(PatternMatcher, AgreesWithLookingAtEveryEnd) {
  const std::vector<std::string> patterns = {"aba", "ab", "bbb", "", "abab", "ca"};
  std::mt19937 random(2);
  PatternMatcher matcher(patterns);
  std::string text;
  for (int i = 0; i < 5000; ++i) {
    text.push_back(static_cast<char>('a' + random() % 3));
    const std::string* found = matcher.Push(text.back());
    std::string longest;
    size_t partial = 0;
    for (const std::string& p : patterns) {
      if (!p.empty() && text.ends_with(p) && p.size() > longest.size()) longest = p;
      for (size_t bytes = 1; bytes < p.size(); ++bytes) {
        if (text.ends_with(p.substr(0, bytes))) partial = std::max(partial, bytes);
      }
    }
    ASSERT_EQ(found == nullptr ? "" : *found, longest) << i;
    ASSERT_EQ(matcher.partial_bytes(), partial) << i;
    if (i % 500 == 499) {
      matcher.Reset();
      text.clear();
      ASSERT_EQ(matcher.partial_bytes(), 0u);
    }
  }
}

}  // namespace
}  // namespace barn
