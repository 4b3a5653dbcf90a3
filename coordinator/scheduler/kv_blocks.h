#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace barn {

// The pool of KV blocks that all stages share in one geometry: block b is the same positions of the same sequences
// everywhere. Blocks are counted, for several sequences may begin with the same ones. A full block whose tokens are
// known can be published: who begins with the same tokens finds it, also after its last holder has left, until the room
// is wanted. Then the block that nobody has held for the longest time goes first.
class KvBlocks {
 public:
  // What a published block holds: its tokens behind everything that `parent` names. Two names are equal only if all
  // tokens up to there are, so a block that is found is the right one, whatever anybody sends. A tenant finds its own
  // blocks only; the name of a chain's first block carries it.
  struct Content {
    int64_t parent = 0;  // As Publish() and Find() name it; 0: the sequence begins here.
    std::string_view tenant;
    std::span<const int32_t> tokens;  // Of one block.
  };
  // Most names differ in the parent, so few tokens are looked at.
  struct ContentLess {
    using is_transparent = void;
    template <class A, class B>
    bool operator()(const A& a, const B& b) const {
      if (a.parent != b.parent) return a.parent < b.parent;
      if (const int order = std::string_view(a.tenant).compare(b.tenant); order != 0) return order < 0;
      return std::lexicographical_compare(a.tokens.begin(), a.tokens.end(), b.tokens.begin(), b.tokens.end());
    }
  };
  struct Found {
    int32_t block = -1;  // -1: nobody has computed that, or it is gone.
    int64_t name = 0;    // For the next block of the chain.
  };

  KvBlocks() = default;
  KvBlocks(int64_t blocks, int64_t block_tokens);
  KvBlocks(KvBlocks&&) = default;  // Moving keeps the iterators of the index.
  KvBlocks& operator=(KvBlocks&&) = default;

  // Blocks that hold `positions` tokens, rounded up.
  int64_t BlocksFor(int64_t positions) const { return (positions + block_tokens_ - 1) / block_tokens_; }

  bool CanTake(int64_t blocks) const { return blocks <= free(); }
  // Each gets one holder. Of the unpublished ones the last that was given back is the first one taken again, so that
  // the order depends on the history alone. CanTake() holds.
  std::vector<int32_t> Take(int64_t blocks);
  // One more holder of a block that is held or published.
  void Hold(int32_t block);
  // One holder less of each. The last blocks of a chain are forgotten before the first, which more can use.
  void GiveBack(std::span<const int32_t> blocks);

  Found Find(const Content& content) const;
  // Names what a held block contains. Where an equal one is published already, that one stays the one that is found,
  // and its name is returned.
  int64_t Publish(int32_t block, const Content& content);

  int64_t total() const { return static_cast<int64_t>(blocks_.size()); }
  // Without a holder; what is published among them counts, too.
  int64_t free() const { return static_cast<int64_t>(unused_.size()) + cached_; }
  int64_t cached() const { return cached_; }
  int64_t block_tokens() const { return block_tokens_; }
  int64_t holders(int32_t block) const { return blocks_[block].holders; }

 private:
  struct Key {
    int64_t parent;
    std::string tenant;
    std::vector<int32_t> tokens;
  };
  using Index = std::map<Key, int32_t, ContentLess>;
  struct Block {
    int64_t holders = 0;
    int64_t name = 0;  // 0: not published.
    Index::iterator entry;
    int32_t older = -1;  // Neighbours among the published ones that nobody holds.
    int32_t newer = -1;
  };

  void LinkNewest(int32_t block);
  void Unlink(int32_t block);
  int32_t Evict();

  int64_t block_tokens_ = 1;
  std::vector<Block> blocks_;
  std::vector<int32_t> unused_;
  Index index_;
  int32_t oldest_ = -1;
  int32_t newest_ = -1;
  int64_t cached_ = 0;
  int64_t last_name_ = 0;
};

}  // namespace barn
