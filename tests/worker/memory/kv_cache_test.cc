#include "worker/memory/kv_cache.h"

#include <gtest/gtest.h>

#include <vector>

namespace barn {
namespace {

class KvCacheTest : public testing::Test {
 protected:
  std::unique_ptr<Device> device_ = *CreateCpuDevice({.threads = 1, .pin = false});
};

TEST_F(KvCacheTest, LayersHaveTheirShapesAndTheirOwnMemory) {
  const std::vector<KvShape> shapes = {{.kv_heads = 2, .k_width = 48, .v_width = 32},
                                       {.kv_heads = 1, .k_width = 80, .v_width = 64, .v_is_k_prefix = true}};
  const KvCache cache = *KvCache::Create(*device_, shapes, {.blocks = 5, .block_tokens = 16, .type = KvType::kF16});
  EXPECT_EQ(cache.bytes(), 5 * 16 * 2 * (2 * (48 + 32) + 80));
  EXPECT_EQ(cache.layer(0).type, KvType::kF16);
  EXPECT_EQ(cache.layer(0).block_tokens, 16);
  EXPECT_EQ(cache.layer(0).kv_heads, 2);
  EXPECT_NE(cache.layer(0).k, nullptr);
  EXPECT_NE(cache.layer(0).v, nullptr);
  EXPECT_NE(cache.layer(0).k, cache.layer(1).k);
  EXPECT_EQ(cache.layer(1).v, nullptr);
  EXPECT_TRUE(cache.layer(1).v_is_k_prefix);
}

TEST_F(KvCacheTest, F32TakesTwiceTheBytes) {
  const std::vector<KvShape> shapes = {{.kv_heads = 2, .k_width = 32, .v_width = 32}};
  const KvCache cache = *KvCache::Create(*device_, shapes, {.blocks = 3, .block_tokens = 8, .type = KvType::kF32});
  EXPECT_EQ(cache.bytes(), 3 * 8 * 4 * 2 * 64);
}

TEST_F(KvCacheTest, Q8TakesAByteForEachElementAndAScaleFor32OfARow) {
  const std::vector<KvShape> shapes = {{.kv_heads = 2, .k_width = 64, .v_width = 32},
                                       {.kv_heads = 3, .k_width = 81, .v_width = 64, .v_is_k_prefix = true}};
  const KvCache cache = *KvCache::Create(*device_, shapes, {.blocks = 5, .block_tokens = 7, .type = KvType::kQ8_0});
  EXPECT_EQ(cache.bytes(), 5 * 7 * (2 * (2 * 34 + 34) + 3 * (81 + 3 * 2)));
  for (const int i : {0, 1}) {
    const KvLayer& layer = cache.layer(i);
    const int64_t rows = 5 * 7 * layer.kv_heads;
    EXPECT_EQ(layer.k, layer.k_scales + rows * KvScales(layer.k_width));  // The scales end where the codes begin.
    EXPECT_EQ(layer.v == nullptr, layer.v_is_k_prefix);
    EXPECT_EQ(layer.v_scales == nullptr, layer.v_is_k_prefix);
  }
  EXPECT_EQ(cache.layer(0).v, cache.layer(0).v_scales + 5 * 7 * 2);
}

TEST_F(KvCacheTest, Q4TakesEighteenBytesForEach32OfARow) {
  const std::vector<KvShape> shapes = {{.kv_heads = 2, .k_width = 64, .v_width = 32},
                                       {.kv_heads = 3, .k_width = 81, .v_width = 64, .v_is_k_prefix = true}};
  const KvCache cache = *KvCache::Create(*device_, shapes, {.blocks = 5, .block_tokens = 7, .type = KvType::kQ4_0});
  EXPECT_EQ(cache.bytes(), 5 * 7 * (2 * (2 * 18 + 18) + 3 * 3 * 18));
  EXPECT_EQ(cache.layer(0).k, cache.layer(0).k_scales + 5 * 7 * 2 * 2);
  EXPECT_EQ(cache.layer(0).v, cache.layer(0).v_scales + 5 * 7 * 2);
  EXPECT_EQ(cache.layer(1).k, cache.layer(1).k_scales + 5 * 7 * 3 * 3);
  EXPECT_EQ(cache.layer(1).v_scales, nullptr);
}

TEST_F(KvCacheTest, RefusesSizesThatMakeNoSense) {
  const std::vector<KvShape> good = {{.kv_heads = 2, .k_width = 32, .v_width = 32}};
  EXPECT_EQ(KvCache::Create(*device_, good, {.blocks = 0, .block_tokens = 8}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(KvCache::Create(*device_, good, {.blocks = 8, .block_tokens = -1}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(KvCache::Create(*device_, good, {.blocks = int64_t{1} << 61, .block_tokens = 8}).status().code(),
            absl::StatusCode::kResourceExhausted);
  const std::vector<KvShape> bad = {{.kv_heads = 1, .k_width = 32, .v_width = 33, .v_is_k_prefix = true}};
  EXPECT_EQ(KvCache::Create(*device_, bad, {.blocks = 1, .block_tokens = 8}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace barn
