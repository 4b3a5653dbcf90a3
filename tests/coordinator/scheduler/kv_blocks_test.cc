#include "coordinator/scheduler/kv_blocks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <set>

namespace barn {
namespace {

using ::testing::ElementsAre;

TEST(KvBlocks, RoundsPositionsUpToBlocks) {
  const KvBlocks blocks(10, 32);
  EXPECT_EQ(blocks.BlocksFor(0), 0);
  EXPECT_EQ(blocks.BlocksFor(1), 1);
  EXPECT_EQ(blocks.BlocksFor(32), 1);
  EXPECT_EQ(blocks.BlocksFor(33), 2);
}

TEST(KvBlocks, TheLastGivenBackIsTakenFirst) {
  KvBlocks blocks(4, 1);
  EXPECT_THAT(blocks.Take(3), ElementsAre(0, 1, 2));
  blocks.GiveBack({1, 2});
  EXPECT_THAT(blocks.Take(3), ElementsAre(1, 2, 3));
  EXPECT_EQ(blocks.free(), 0);
  EXPECT_FALSE(blocks.CanTake(1));
}

TEST(KvBlocks, NeverHandsOutABlockTwice) {
  std::mt19937 random(5);
  KvBlocks blocks(50, 4);
  std::vector<std::vector<int32_t>> held;
  std::set<int32_t> taken;
  for (int i = 0; i < 5000; ++i) {
    const int64_t count = random() % 8;
    if (random() % 2 == 0 && blocks.CanTake(count)) {
      held.push_back(blocks.Take(count));
      for (int32_t block : held.back()) {
        EXPECT_TRUE(block >= 0 && block < 50 && taken.insert(block).second);
        EXPECT_TRUE(blocks.IsTaken(block));
      }
    } else if (!held.empty()) {
      std::swap(held[random() % held.size()], held.back());
      for (int32_t block : held.back()) taken.erase(block);
      blocks.GiveBack(held.back());
      held.pop_back();
    }
    ASSERT_EQ(blocks.free() + static_cast<int64_t>(taken.size()), blocks.total());
  }
}

}  // namespace
}  // namespace barn
