#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "proto/base/status.h"

namespace barn {

// Encodes each different word of a text once: for words that come again the ids are copied. Borrows the words.
class WordMemo {
 public:
  // Appends the ids of `word`. `encode()` does so the first time; *ids is the same in every call and only grows.
  template <class Encode>
  absl::Status Append(std::string_view word, std::vector<int32_t>* ids, const Encode& encode) {
    const auto [known, is_new] = seen_.try_emplace(word, Range{ids->size(), 0});
    if (is_new) {
      BARN_RETURN_IF_ERROR(encode());
      known->second.count = ids->size() - known->second.begin;
      return absl::OkStatus();
    }
    const Range range = known->second;
    for (size_t i = 0; i < range.count; ++i) ids->push_back((*ids)[range.begin + i]);
    return absl::OkStatus();
  }

 private:
  // Where a word's ids lie in *ids.
  struct Range {
    size_t begin;
    size_t count;
  };
  absl::flat_hash_map<std::string_view, Range> seen_;
};

}  // namespace barn
