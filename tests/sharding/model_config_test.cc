#include "sharding/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <string>

#include "tests/sharding/gguf_builder.h"

namespace barn {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

const fs::path kArch = fs::path(BARN_SOURCE_DIR) / "../shared/oracles/arch";

absl::StatusOr<ModelConfig> ReadFile(const std::string& name) {
  const auto model = GgufModel::Open((kArch / name).string());
  if (!model.ok()) return model.status();
  return ReadModelConfig(**model);
}

absl::StatusOr<ModelConfig> ReadTiny(const GgufFile& file) {
  std::vector<std::shared_ptr<const Store>> parts = {MemoryStore("tiny.gguf", file.Build())};
  const auto model = GgufModel::Read(parts);
  if (!model.ok()) return model.status();
  return ReadModelConfig(**model);
}

TEST(ModelConfig, ReadsEveryOracle) {
  std::set<std::string> architectures;
  for (const auto& file : fs::directory_iterator(kArch)) {
    if (file.path().extension() != ".gguf") continue;
    SCOPED_TRACE(file.path().filename());
    const auto config = ReadFile(file.path().filename());
    ASSERT_TRUE(config.ok()) << config.status();
    architectures.insert(config->architecture);
    EXPECT_EQ(config->vocabulary, 320);
    EXPECT_EQ(config->kv.size(), static_cast<size_t>(config->layers));
    EXPECT_EQ(config->experts > 0, config->experts_used > 0);
  }
  const std::vector<std::string>& supported = SupportedArchitectures();
  EXPECT_TRUE(std::is_sorted(supported.begin(), supported.end()));
  // Encoders have oracles of their own (tests/data/encoders).
  std::set<std::string> generating;
  for (const std::string& name : supported) {
    if (!IsEncoderArchitecture(name)) generating.insert(name);
  }
  EXPECT_EQ(architectures, generating);
}

TEST(ModelConfig, KvShapes) {
  struct Case {
    std::string file;
    int64_t layers;
    KvShape shape;
  };
  const std::vector<Case> cases = {
      {"llama-f32.gguf", 0, {2, 32, 32, false}},
      {"deepseek2-lite-f32.gguf", 3, {1, 80, 64, true}},
      {"deepseek2-legacy-kv_b-f16.gguf", 2, {4, 48, 32, false}},
      {"starcoder2-f32.gguf", 3, {1, 32, 32, false}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.file);
    const auto config = ReadFile(c.file);
    ASSERT_TRUE(config.ok()) << config.status();
    if (c.layers > 0) {
      EXPECT_EQ(config->layers, c.layers);
    }
    for (const KvShape& shape : config->kv) {
      EXPECT_EQ(shape.kv_heads, c.shape.kv_heads);
      EXPECT_EQ(shape.k_width, c.shape.k_width);
      EXPECT_EQ(shape.v_width, c.shape.v_width);
      EXPECT_EQ(shape.v_is_k_prefix, c.shape.v_is_k_prefix);
    }
  }
  EXPECT_EQ((KvShape{1, 576, 512, true}.elements_per_token()), 576);
  EXPECT_EQ((KvShape{8, 128, 128, false}.elements_per_token()), 2048);
}

TEST(ModelConfig, KvHeadsPerLayer) {
  const TinyModel tiny{.layers = 3, .more_metadata = {KvI32Array("llama.attention.head_count_kv", {4, 2, 1})}};
  const auto config = ReadTiny(tiny.File());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->kv[0].kv_heads, 4);
  EXPECT_EQ(config->kv[1].kv_heads, 2);
  EXPECT_EQ(config->kv[2].kv_heads, 1);
  EXPECT_EQ(config->kv[2].k_width, 8);
}

TEST(ModelConfig, PredictionLayersDoNotCount) {
  const auto config = ReadTiny(TinyModel{.architecture = "glm4moe", .layers = 3, .nextn_layers = 1}.File());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->layers, 2);
  EXPECT_EQ(config->kv.size(), 2u);
}

TEST(ModelConfig, UnknownArchitectureListsTheKnown) {
  const auto config = ReadTiny(TinyModel{.architecture = "mamba"}.File());
  EXPECT_EQ(config.status().code(), absl::StatusCode::kUnimplemented);
  const std::string message(config.status().message());
  EXPECT_THAT(message, HasSubstr("architecture \"mamba\" is not supported; supported are bert, command-r, deepseek2,"));
  EXPECT_THAT(message, HasSubstr("starcoder2"));
}

TEST(ModelConfig, BadKeysAreNamed) {
  struct Case {
    size_t replaced;  // Index into TinyModel's metadata; beyond it: appended.
    std::string entry;
    std::string message;
  };
  const std::vector<Case> cases = {
      {0, KvU32("general.architecture", 1), "general.architecture is missing or no string"},
      {1, KvU32("x", 1), "llama.block_count is missing"},
      {1, KvString("llama.block_count", "2"), "llama.block_count is no integer"},
      {1, KvU32("llama.block_count", 0), "llama.block_count is 0, not 1 to 1024"},
      {1, KvI32("llama.block_count", -1), "llama.block_count is -1"},
      {2, KvU32("llama.embedding_length", 0), "llama.embedding_length is 0"},
      {2, KvU32("llama.embedding_length", 64), "token_embd.weight has shape [32, 8] in 2 dimensions; wanted [64"},
      {3, KvU32("llama.context_length", 0xffffffff), "llama.context_length is 4294967295, not 1 to"},
      {4, KvU32("llama.attention.head_count", 0), "llama.attention.head_count is 0"},
      {4, KvU32("llama.attention.head_count", 64), "keys of 0 and values of 0"},
      {9, KvU32("llama.attention.head_count_kv", 3), "4 attention heads are no multiple of 3 KV heads"},
      {9, KvI32Array("llama.attention.head_count_kv", {}), "llama.attention.head_count_kv has 0 values for 2 layers"},
      {9, KvF32("llama.attention.key_length", 1.5f), "llama.attention.key_length is no integer"},
      {9, KvU32("llama.attention.key_length", 1 << 20), "llama.attention.key_length is 1048576, not 1 to 65536"},
      {9, KvU32("llama.expert_count", 8), "llama.expert_used_count is missing"},
      {9, KvU32("llama.expert_count", 1 << 20), "llama.expert_count is 1048576"},
      {9, KvU32("llama.nextn_predict_layers", 2), "llama.nextn_predict_layers is 2, not 0 to 1"},
  };
  for (const Case& c : cases) {
    GgufFile file = TinyModel{}.File();
    if (c.replaced < file.metadata.size()) {
      file.metadata[c.replaced] = c.entry;
    } else {
      file.metadata.push_back(c.entry);
    }
    const auto config = ReadTiny(file);
    ASSERT_FALSE(config.ok()) << c.message;
    EXPECT_TRUE(absl::IsInvalidArgument(config.status())) << config.status();
    EXPECT_THAT(std::string(config.status().message()), HasSubstr(c.message));
  }
}

}  // namespace
}  // namespace barn
