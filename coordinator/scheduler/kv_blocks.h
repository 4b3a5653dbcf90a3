#pragma once

#include <cstdint>
#include <vector>

namespace barn {

// The pool of KV blocks that all stages share in one geometry: block b is the same positions of the same sequence
// everywhere.
class KvBlocks {
 public:
  KvBlocks() = default;
  KvBlocks(int64_t blocks, int64_t block_tokens);

  // Blocks that hold `positions` tokens, rounded up.
  int64_t BlocksFor(int64_t positions) const { return (positions + block_tokens_ - 1) / block_tokens_; }

  bool CanTake(int64_t blocks) const { return blocks <= free(); }
  // The last block given back is the first one taken again, so that the order depends on the history alone. CanTake()
  // holds.
  std::vector<int32_t> Take(int64_t blocks);
  void GiveBack(const std::vector<int32_t>& blocks);

  int64_t total() const { return static_cast<int64_t>(taken_.size()); }
  int64_t free() const { return static_cast<int64_t>(free_.size()); }
  int64_t block_tokens() const { return block_tokens_; }
  bool IsTaken(int32_t block) const { return taken_[block]; }

 private:
  int64_t block_tokens_ = 1;
  std::vector<int32_t> free_;
  std::vector<bool> taken_;
};

}  // namespace barn
