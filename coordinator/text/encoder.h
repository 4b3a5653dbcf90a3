#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace barn {

// Turns raw text (no special tokens in it) into ids: one implementation per kind of vocabulary. Thread-safe.
class Encoder {
 public:
  virtual ~Encoder() = default;
  // Appends the ids of `text`. InvalidArgument: the vocabulary has no token for a byte of it.
  virtual absl::Status Append(std::string_view text, std::vector<int32_t>* ids) const = 0;
};

}  // namespace barn
