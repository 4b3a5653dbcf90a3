#include "coordinator/scheduler/kv_blocks.h"

#include <cassert>
#include <utility>

namespace barn {

KvBlocks::KvBlocks(int64_t blocks, int64_t block_tokens) : block_tokens_(block_tokens), blocks_(blocks) {
  unused_.reserve(blocks);
  for (int64_t block = blocks - 1; block >= 0; --block) unused_.push_back(static_cast<int32_t>(block));
}

std::vector<int32_t> KvBlocks::Take(int64_t blocks) {
  assert(CanTake(blocks));
  std::vector<int32_t> out;
  out.reserve(blocks);
  for (int64_t i = 0; i < blocks; ++i) {
    if (unused_.empty()) {
      out.push_back(Evict());
    } else {
      out.push_back(unused_.back());
      unused_.pop_back();
    }
    blocks_[out.back()].holders = 1;
  }
  return out;
}

void KvBlocks::Hold(int32_t block) {
  if (++blocks_[block].holders > 1) return;
  assert(blocks_[block].name != 0);
  Unlink(block);
}

void KvBlocks::GiveBack(std::span<const int32_t> blocks) {
  for (auto block = blocks.rbegin(); block != blocks.rend(); ++block) {
    assert(blocks_[*block].holders > 0);
    if (--blocks_[*block].holders > 0) continue;
    if (blocks_[*block].name != 0) {
      LinkNewest(*block);
    } else {
      unused_.push_back(*block);
    }
  }
}

KvBlocks::Found KvBlocks::Find(const Content& content) const {
  const auto found = index_.find(content);
  return found == index_.end() ? Found() : Found{.block = found->second, .name = blocks_[found->second].name};
}

int64_t KvBlocks::Publish(int32_t block, const Content& content) {
  assert(blocks_[block].holders > 0 && blocks_[block].name == 0);
  const Found found = Find(content);
  if (found.block >= 0) return found.name;
  blocks_[block].name = ++last_name_;
  blocks_[block].entry = index_
                             .emplace(Key{.parent = content.parent,
                                          .tenant = std::string(content.tenant),
                                          .tokens = {content.tokens.begin(), content.tokens.end()}},
                                      block)
                             .first;
  return last_name_;
}

void KvBlocks::LinkNewest(int32_t block) {
  blocks_[block].older = newest_;
  blocks_[block].newer = -1;
  (newest_ < 0 ? oldest_ : blocks_[newest_].newer) = block;
  newest_ = block;
  ++cached_;
}

void KvBlocks::Unlink(int32_t block) {
  const Block& gone = blocks_[block];
  (gone.older < 0 ? oldest_ : blocks_[gone.older].newer) = gone.newer;
  (gone.newer < 0 ? newest_ : blocks_[gone.newer].older) = gone.older;
  --cached_;
}

int32_t KvBlocks::Evict() {
  const int32_t block = oldest_;
  Unlink(block);
  index_.erase(blocks_[block].entry);
  blocks_[block].name = 0;
  return block;
}

}  // namespace barn
