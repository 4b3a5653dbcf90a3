#include "coordinator/scheduler/kv_blocks.h"

#include <cassert>

namespace barn {

KvBlocks::KvBlocks(int64_t blocks, int64_t block_tokens) : block_tokens_(block_tokens), taken_(blocks, false) {
  free_.reserve(blocks);
  for (int64_t block = blocks - 1; block >= 0; --block) free_.push_back(static_cast<int32_t>(block));
}

std::vector<int32_t> KvBlocks::Take(int64_t blocks) {
  assert(CanTake(blocks));
  std::vector<int32_t> out;
  out.reserve(blocks);
  for (int64_t i = 0; i < blocks; ++i) {
    out.push_back(free_.back());
    taken_[free_.back()] = true;
    free_.pop_back();
  }
  return out;
}

void KvBlocks::GiveBack(const std::vector<int32_t>& blocks) {
  for (auto block = blocks.rbegin(); block != blocks.rend(); ++block) {
    assert(taken_[*block]);
    taken_[*block] = false;
    free_.push_back(*block);
  }
}

}  // namespace barn
