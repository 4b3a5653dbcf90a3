#include "coordinator/text/pattern_matcher.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace barn {
namespace {

std::vector<size_t> Borders(std::string_view text) {
  std::vector<size_t> border(text.size(), 0);
  for (size_t i = 1, k = 0; i < text.size(); ++i) {
    while (k > 0 && text[i] != text[k]) k = border[k - 1];
    if (text[i] == text[k]) ++k;
    border[i] = k;
  }
  return border;
}

}  // namespace

PatternMatcher::PatternMatcher(std::vector<std::string> patterns) {
  for (std::string& text : patterns) {
    if (text.empty()) continue;
    std::vector<size_t> border = Borders(text);
    patterns_.push_back({.text = std::move(text), .border = std::move(border)});
  }
}

const std::string* PatternMatcher::Push(char byte) {
  const std::string* complete = nullptr;
  for (Pattern& p : patterns_) {
    while (p.matched_bytes > 0 && p.text[p.matched_bytes] != byte) p.matched_bytes = p.border[p.matched_bytes - 1];
    if (p.text[p.matched_bytes] == byte) ++p.matched_bytes;
    if (p.matched_bytes < p.text.size()) continue;
    if (complete == nullptr || p.text.size() > complete->size()) complete = &p.text;
    p.matched_bytes = p.border.back();  // It may begin again within itself.
  }
  return complete;
}

size_t PatternMatcher::partial_bytes() const {
  size_t bytes = 0;
  for (const Pattern& p : patterns_) bytes = std::max(bytes, p.matched_bytes);
  return bytes;
}

void PatternMatcher::Reset() {
  for (Pattern& p : patterns_) p.matched_bytes = 0;
}

}  // namespace barn
