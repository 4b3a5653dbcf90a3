#include "coordinator/cli/memory_bound.h"

#include <gtest/gtest.h>

#include <vector>

namespace barn {
namespace {

CatalogueEntry Entry(const char* name, TensorRole role, int64_t layer, int64_t bytes, int64_t experts = 0) {
  CatalogueEntry entry;
  entry.tensor.name = name;
  entry.tensor.size_bytes = bytes;
  entry.tensor.dims[0] = 32;
  entry.tensor.dims[1] = 50;
  entry.role = role;
  entry.layer = layer;
  entry.experts = experts;
  entry.expert_bytes = experts > 0 ? bytes / experts : 0;
  return entry;
}

Catalogue TwoLayers() {
  Catalogue catalogue;
  catalogue.layers = 2;
  catalogue.entries = {Entry("token_embd.weight", TensorRole::kEmbedding, -1, 5000),
                       Entry("output_norm.weight", TensorRole::kNorm, -1, 7),
                       Entry("output.weight", TensorRole::kHead, -1, 4000),
                       Entry("blk.0.attn_q.weight", TensorRole::kAttention, 0, 300),
                       Entry("blk.0.ffn_up_exps.weight", TensorRole::kExpert, 0, 1600, 16),
                       Entry("blk.1.ffn_gate_inp.weight", TensorRole::kRouter, 1, 20),
                       Entry("blk.1.ffn_up_exps.weight", TensorRole::kExpert, 1, 3200, 16),
                       Entry("blk.2.nextn.eh_proj.weight", TensorRole::kOther, 2, 9999)};
  return catalogue;
}

TEST(MemoryBound, WeightsThatATokenReads) {
  const TokenBytes bytes = BytesOfToken(TwoLayers(), 3, {}, 1);
  EXPECT_EQ(bytes.dense, 5000 / 50 + 7 + 4000 + 300 + 20);  // One of the 50 rows of the embedding.
  EXPECT_EQ(bytes.experts, 3 * 100 + 3 * 200);
  EXPECT_EQ(bytes.kv, 0);
  EXPECT_EQ(bytes.total(), bytes.dense + bytes.experts);
  EXPECT_EQ(BytesOfToken(TwoLayers(), 20, {}, 1).experts, 1600 + 3200);  // No more than there are.
}

TEST(MemoryBound, ATiedHeadReadsTheWholeEmbedding) {
  Catalogue tied = TwoLayers();
  tied.tied_head = true;
  tied.entries.erase(tied.entries.begin() + 2);
  EXPECT_EQ(BytesOfToken(tied, 0, {}, 1).dense, 5000 + 7 + 300 + 20);
}

TEST(MemoryBound, KeysAndValuesWithinTheWindow) {
  const std::vector<KvReads> layers = {{.bytes_per_position = 10}, {.bytes_per_position = 6, .positions_max = 64}};
  EXPECT_EQ(BytesOfToken(TwoLayers(), 0, layers, 32).kv, 32 * 10 + 32 * 6);
  EXPECT_EQ(BytesOfToken(TwoLayers(), 0, layers, 1000).kv, 1000 * 10 + 64 * 6);
}

TEST(MemoryBound, IsBandwidthOverBytes) {
  EXPECT_DOUBLE_EQ(MemoryBoundTokensPerSecond({.dense = 100, .experts = 50, .kv = 50}, 34e9), 34e9 / 200);
}

}  // namespace
}  // namespace barn
