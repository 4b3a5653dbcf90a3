#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/text/tokenizer.h"

namespace barn::grammar {

// The tokens of a vocabulary by their bytes, for walks that drop whole branches. Control tokens and those that end an
// answer are not in it, nor are tokens without bytes. Immutable; thread-safe.
class TokenTrie {
 public:
  // A node stands for a byte after those of its ancestors. Nodes lie in depth-first order, children by byte.
  struct NodeAt {
    int32_t end = 0;     // The first node that is not below this one.
    int32_t tokens = 0;  // Where its tokens begin; they end where the next node's begin.
    uint16_t depth = 0;  // 1 for a first byte.
    uint8_t byte = 0;
  };

  // InvalidArgument: more nodes than an index holds.
  static absl::StatusOr<TokenTrie> Create(const Tokenizer& tokenizer);

  int32_t size() const { return static_cast<int32_t>(nodes_.size()) - 1; }
  // index <= size(); the last one is a sentinel.
  const NodeAt& node(int32_t index) const { return nodes_[index]; }
  int32_t token(int32_t index) const { return token_ids_[index]; }
  int depth_max() const { return depth_max_; }

  // What a token spells; empty for those that are not in the trie.
  std::string_view bytes(int32_t token) const {
    return std::string_view(all_bytes_).substr(offsets_[token], offsets_[token + 1] - offsets_[token]);
  }
  int64_t vocabulary() const { return static_cast<int64_t>(offsets_.size()) - 1; }
  // Tokens that end an answer, ascending.
  const std::vector<int32_t>& end_tokens() const { return end_tokens_; }
  int64_t memory_bytes() const;

 private:
  TokenTrie() = default;

  std::vector<NodeAt> nodes_;
  std::vector<int32_t> token_ids_;
  std::string all_bytes_;
  std::vector<int64_t> offsets_;  // [vocabulary + 1]
  std::vector<int32_t> end_tokens_;
  int depth_max_ = 0;
};

}  // namespace barn::grammar
