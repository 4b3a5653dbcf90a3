#include "worker/service/block_tables.h"

#include <gtest/gtest.h>

namespace barn {
namespace {

using Blocks = std::vector<int32_t>;

Blocks Read(const absl::StatusOr<std::span<const int32_t>>& table) {
  EXPECT_TRUE(table.ok()) << table.status();
  return table.ok() ? Blocks(table->begin(), table->end()) : Blocks{};
}

TEST(BlockTables, DifferencesAddUp) {
  BlockTables tables({.kv_blocks = 10, .kv_block_tokens = 4});
  EXPECT_EQ(Read(tables.Update(1, 0, Blocks{7, 3}, 8)), (Blocks{7, 3}));
  EXPECT_EQ(Read(tables.Update(1, 2, Blocks{}, 8)), (Blocks{7, 3}));
  EXPECT_EQ(Read(tables.Update(1, 2, Blocks{0}, 9)), (Blocks{7, 3, 0}));
  EXPECT_EQ(Read(tables.Update(2, 0, Blocks{1}, 1)), (Blocks{1}));
  EXPECT_EQ(Read(tables.Update(1, 1, Blocks{9}, 5)), (Blocks{7, 9}));
  EXPECT_EQ(tables.sequences(), 2);
  tables.Release(1);
  tables.Release(99);
  EXPECT_EQ(tables.sequences(), 1);
  EXPECT_TRUE(absl::IsInvalidArgument(tables.Update(1, 1, Blocks{9}, 5).status()));
}

TEST(BlockTables, ALieChangesNothing) {
  BlockTables tables({.kv_blocks = 4, .kv_block_tokens = 4});
  Read(tables.Update(1, 0, Blocks{0, 1}, 8));
  EXPECT_TRUE(absl::IsInvalidArgument(tables.Update(1, 3, Blocks{2}, 8).status()));  // A gap.
  EXPECT_TRUE(absl::IsInvalidArgument(tables.Update(1, -1, Blocks{2}, 1).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(tables.Update(1, 2, Blocks{4}, 8).status()));  // Outside the pool.
  EXPECT_TRUE(absl::IsInvalidArgument(tables.Update(1, 2, Blocks{-1}, 8).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(tables.Update(1, 2, Blocks{0, 1, 2}, 8).status()));  // More than the pool.
  EXPECT_TRUE(absl::IsInvalidArgument(tables.Update(1, 2, Blocks{2}, 13).status()));       // Does not reach.
  EXPECT_TRUE(absl::IsInvalidArgument(tables.Update(1, 2, Blocks{2}, int64_t{1} << 62).status()));
  EXPECT_EQ(Read(tables.Update(1, 2, Blocks{}, 8)), (Blocks{0, 1}));
}

TEST(BlockTables, SequencesAreBounded) {
  BlockTables tables({.kv_blocks = 1, .kv_block_tokens = 1});
  for (int64_t id = 0; id < BlockTables::kSequencesMax; ++id) {
    ASSERT_TRUE(tables.Update(id, 0, Blocks{0}, 1).ok());
  }
  EXPECT_TRUE(absl::IsResourceExhausted(tables.Update(-1, 0, Blocks{0}, 1).status()));
}

}  // namespace
}  // namespace barn
