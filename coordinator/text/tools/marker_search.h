#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace barn {

// The first of several markers in a text that still grows.
struct MarkerMatch {
  size_t at = 0;         // Where it begins; without one, the bytes that can be no part of any marker.
  size_t marker = npos;  // Its index.
  static constexpr size_t npos = static_cast<size_t>(-1);

  bool found() const { return marker != npos; }
};

// Of markers that begin at the same place the first in the list counts. None is empty.
MarkerMatch FindMarker(std::string_view text, const std::vector<std::string>& markers);

}  // namespace barn
