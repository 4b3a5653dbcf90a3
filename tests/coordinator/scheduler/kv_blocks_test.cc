#include "coordinator/scheduler/kv_blocks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <set>

namespace barn {
namespace {

using ::testing::ElementsAre;
using Ids = std::vector<int32_t>;

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
  blocks.GiveBack(Ids{1, 2});
  EXPECT_THAT(blocks.Take(3), ElementsAre(1, 2, 3));
  EXPECT_EQ(blocks.free(), 0);
  EXPECT_FALSE(blocks.CanTake(1));
}

TEST(KvBlocks, FindsWhatWasPublishedAfterItsHoldersLeft) {
  KvBlocks blocks(4, 2);
  const Ids chain = blocks.Take(2);
  const Ids first = {7, 8}, second = {9, 9};
  const int64_t name = blocks.Publish(chain[0], {.parent = 0, .tenant = "a", .tokens = first});
  blocks.Publish(chain[1], {.parent = name, .tenant = "", .tokens = second});
  blocks.GiveBack(chain);
  EXPECT_EQ(blocks.free(), 4);
  EXPECT_EQ(blocks.cached(), 2);
  EXPECT_EQ(blocks.Find({.parent = 0, .tenant = "a", .tokens = first}).block, chain[0]);
  EXPECT_EQ(blocks.Find({.parent = name, .tenant = "", .tokens = second}).block, chain[1]);
  EXPECT_EQ(blocks.Find({.parent = 0, .tenant = "b", .tokens = first}).block, -1);
  EXPECT_EQ(blocks.Find({.parent = 0, .tenant = "a", .tokens = second}).block, -1);
  EXPECT_EQ(blocks.Find({.parent = name, .tenant = "", .tokens = first}).block, -1);
  blocks.Hold(chain[0]);
  blocks.Hold(chain[0]);
  EXPECT_EQ(blocks.holders(chain[0]), 2);
  EXPECT_EQ(blocks.free(), 3);
  EXPECT_EQ(blocks.cached(), 1);
}

TEST(KvBlocks, TheLongestUnusedGoesFirstAndTheEndOfAChainBeforeItsBeginning) {
  KvBlocks blocks(4, 1);
  const Ids a = blocks.Take(2), b = blocks.Take(2);
  const Ids one = {1}, two = {2};
  const int64_t name_a = blocks.Publish(a[0], {.parent = 0, .tenant = "a", .tokens = one});
  blocks.Publish(a[1], {.parent = name_a, .tenant = "", .tokens = two});
  const int64_t name_b = blocks.Publish(b[0], {.parent = 0, .tenant = "b", .tokens = one});
  blocks.Publish(b[1], {.parent = name_b, .tenant = "", .tokens = two});
  blocks.GiveBack(b);
  blocks.GiveBack(a);
  EXPECT_THAT(blocks.Take(1), ElementsAre(b[1]));
  EXPECT_EQ(blocks.Find({.parent = name_b, .tenant = "", .tokens = two}).block, -1);
  EXPECT_EQ(blocks.Find({.parent = 0, .tenant = "b", .tokens = one}).block, b[0]);
  blocks.Hold(b[0]);  // Used again: now a's are the oldest.
  blocks.GiveBack(Ids{b[0]});
  EXPECT_THAT(blocks.Take(3), ElementsAre(a[1], a[0], b[0]));
}

TEST(KvBlocks, EqualContentKeepsItsFirstBlock) {
  KvBlocks blocks(4, 1);
  const Ids held = blocks.Take(2), one = {1};
  const int64_t name = blocks.Publish(held[0], {.parent = 0, .tenant = "a", .tokens = one});
  EXPECT_EQ(blocks.Publish(held[1], {.parent = 0, .tenant = "a", .tokens = one}), name);
  EXPECT_EQ(blocks.Find({.parent = 0, .tenant = "a", .tokens = one}).block, held[0]);
  blocks.GiveBack(held);
  EXPECT_EQ(blocks.cached(), 1);
}

TEST(KvBlocks, NeverHandsOutABlockTwice) {
  std::mt19937 random(5);
  KvBlocks blocks(50, 1);
  std::vector<Ids> held;
  std::set<int32_t> taken;
  for (int i = 0; i < 20000; ++i) {
    const int64_t count = random() % 8;
    if (random() % 2 == 0 && blocks.CanTake(count)) {
      held.push_back(blocks.Take(count));
      int64_t name = 0;
      for (int32_t block : held.back()) {
        EXPECT_TRUE(block >= 0 && block < 50 && taken.insert(block).second);
        EXPECT_EQ(blocks.holders(block), 1);
        const Ids tokens = {static_cast<int32_t>(random() % 5)};
        if (random() % 4 != 0) name = blocks.Publish(block, {.parent = name, .tenant = "", .tokens = tokens});
      }
    } else if (!held.empty()) {
      std::swap(held[random() % held.size()], held.back());
      for (int32_t block : held.back()) taken.erase(block);
      blocks.GiveBack(held.back());
      held.pop_back();
    }
    ASSERT_EQ(blocks.free() + static_cast<int64_t>(taken.size()), blocks.total());
    ASSERT_LE(blocks.cached(), blocks.free());
  }
}

}  // namespace
}  // namespace barn
