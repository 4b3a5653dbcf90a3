#include "coordinator/text/grammar/token_trie.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_format.h"

namespace barn::grammar {
namespace {

constexpr int64_t kNodesMax = int64_t{1} << 28;

size_t CommonPrefix(std::string_view a, std::string_view b) {
  return std::mismatch(a.begin(), a.begin() + std::min(a.size(), b.size()), b.begin()).first - a.begin();
}

}  // namespace

absl::StatusOr<TokenTrie> TokenTrie::Create(const Tokenizer& tokenizer) {
  TokenTrie trie;
  std::vector<int32_t> order;
  trie.offsets_.push_back(0);
  for (int64_t i = 0; i < tokenizer.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    const bool ends = tokenizer.IsEndOfGeneration(id);
    if (ends) trie.end_tokens_.push_back(id);
    if (!ends && tokenizer.has_pieces()) trie.all_bytes_ += tokenizer.Piece(id, /*special=*/false);
    if (static_cast<int64_t>(trie.all_bytes_.size()) > trie.offsets_.back()) order.push_back(id);
    trie.offsets_.push_back(static_cast<int64_t>(trie.all_bytes_.size()));
  }
  if (static_cast<int64_t>(trie.all_bytes_.size()) > kNodesMax) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "the tokens have %d bytes together, at most %d can be constrained", trie.all_bytes_.size(), kNodesMax));
  }
  std::sort(order.begin(), order.end(),
            [&](int32_t a, int32_t b) { return std::pair(trie.bytes(a), a) < std::pair(trie.bytes(b), b); });
  std::vector<int32_t> path;  // The nodes from a first byte to the last token's last byte.
  std::string_view last;
  const auto close = [&](size_t depth) {
    for (; path.size() > depth; path.pop_back())
      trie.nodes_[path.back()].end = static_cast<int32_t>(trie.nodes_.size());
  };
  for (const int32_t id : order) {
    const std::string_view bytes = trie.bytes(id);
    close(CommonPrefix(last, bytes));
    while (path.size() < bytes.size()) {
      path.push_back(static_cast<int32_t>(trie.nodes_.size()));
      trie.nodes_.push_back({.tokens = static_cast<int32_t>(trie.token_ids_.size()),
                             .depth = static_cast<uint16_t>(path.size()),
                             .byte = static_cast<uint8_t>(bytes[path.size() - 1])});
    }
    trie.token_ids_.push_back(id);
    trie.depth_max_ = std::max(trie.depth_max_, static_cast<int>(bytes.size()));
    last = bytes;
  }
  close(0);
  trie.nodes_.push_back({.tokens = static_cast<int32_t>(trie.token_ids_.size())});
  trie.nodes_.shrink_to_fit();
  return trie;
}

int64_t TokenTrie::memory_bytes() const {
  return static_cast<int64_t>(nodes_.capacity() * sizeof(NodeAt) + token_ids_.capacity() * 4 + all_bytes_.capacity() +
                              offsets_.capacity() * 8);
}

}  // namespace barn::grammar
