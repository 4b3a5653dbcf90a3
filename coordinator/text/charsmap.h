#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace barn {

// SentencePiece's table of text replacements (Kudo and Richardson 2018, section 3.3): the longest entry at each place
// is replaced. A file has it as a double array (Aoe 1989, in the form of the library darts-clone) with the replacements
// behind it.
class Charsmap {
 public:
  // No table: nothing is replaced.
  Charsmap() = default;
  // InvalidArgument: a table that contradicts itself. Everything else that a hostile one says is bounded by its size.
  static absl::StatusOr<Charsmap> Create(std::string_view bytes);

  // Appends what stands for the beginning of `text`, which is not empty; returns the bytes that it stands for. What is
  // not UTF-8 becomes U+FFFD.
  size_t Append(std::string_view text, std::string& out) const;

 private:
  std::vector<uint32_t> units_;
  std::string replacements_;  // Each ends with a zero.
};

}  // namespace barn
