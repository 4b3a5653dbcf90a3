#include "coordinator/text/stop.h"

#include <algorithm>
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

StopMatcher::StopMatcher(std::vector<std::string> stops) {
  for (std::string& stop : stops) {
    if (stop.empty()) continue;
    std::vector<size_t> border = Borders(stop);
    patterns_.push_back({std::move(stop), std::move(border)});
  }
}

StopMatcher::Result StopMatcher::Push(std::string_view text) {
  if (stopped()) return {.text = "", .stopped = true};
  for (const char byte : text) {
    held_.push_back(byte);
    const Pattern* complete = nullptr;  // The longest, so the one that begins first, if several end here.
    for (Pattern& p : patterns_) {
      while (p.matched_bytes > 0 && p.text[p.matched_bytes] != byte) p.matched_bytes = p.border[p.matched_bytes - 1];
      if (p.text[p.matched_bytes] == byte) ++p.matched_bytes;
      if (p.matched_bytes == p.text.size() && (complete == nullptr || p.text.size() > complete->text.size()))
        complete = &p;
    }
    if (complete != nullptr) {
      matched_ = complete->text;
      held_.resize(held_.size() - matched_.size());
      return {.text = std::exchange(held_, ""), .stopped = true};
    }
  }
  size_t keep = 0;
  for (const Pattern& p : patterns_) keep = std::max(keep, p.matched_bytes);
  Result result{.text = held_.substr(0, held_.size() - keep), .stopped = false};
  held_.erase(0, held_.size() - keep);
  return result;
}

std::string StopMatcher::Flush() { return std::exchange(held_, ""); }

}  // namespace barn
