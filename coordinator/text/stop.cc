#include "coordinator/text/stop.h"

#include <utility>

namespace barn {

StopMatcher::StopMatcher(std::vector<std::string> stops) : patterns_(std::move(stops)) {}

StopMatcher::Result StopMatcher::Push(std::string_view text) {
  if (stopped()) return {.text = "", .stopped = true};
  for (const char byte : text) {
    held_.push_back(byte);
    if (const std::string* complete = patterns_.Push(byte); complete != nullptr) {
      matched_ = *complete;
      held_.resize(held_.size() - matched_.size());
      return {.text = std::exchange(held_, ""), .stopped = true};
    }
  }
  const size_t emitted = held_.size() - patterns_.partial_bytes();
  Result result{.text = held_.substr(0, emitted), .stopped = false};
  held_.erase(0, emitted);
  return result;
}

std::string StopMatcher::Flush() { return std::exchange(held_, ""); }

}  // namespace barn
