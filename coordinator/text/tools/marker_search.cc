#include "coordinator/text/tools/marker_search.h"

#include <algorithm>

namespace barn {
namespace {

// The bytes at the end of `text` that a marker may begin with.
size_t PartialBytes(std::string_view text, std::string_view marker) {
  for (size_t bytes = std::min(text.size(), marker.size() - 1); bytes > 0; --bytes) {
    if (text.substr(text.size() - bytes) == marker.substr(0, bytes)) return bytes;
  }
  return 0;
}

}  // namespace

MarkerMatch FindMarker(std::string_view text, const std::vector<std::string>& markers) {
  MarkerMatch match{.at = text.size()};
  for (size_t i = 0; i < markers.size(); ++i) {
    const size_t at = text.find(markers[i]);
    if (at < match.at) match = {.at = at, .marker = i};
  }
  if (match.found()) return match;
  size_t held = 0;
  for (const std::string& marker : markers) held = std::max(held, PartialBytes(text, marker));
  match.at = text.size() - held;
  return match;
}

}  // namespace barn
