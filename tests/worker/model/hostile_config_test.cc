#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <fstream>
#include <limits>
#include <sstream>

#include "sharding/store/store.h"
#include "tests/worker/model/oracle_model.h"
#include "worker/model/architectures.h"

// Headers with numbers that nobody meant: a slice is refused with a reason or runs, and never crashes.

namespace barn {
namespace {

using testing::HasSubstr;

std::string FileOf(const std::string& name) {
  std::ifstream file(BARN_SOURCE_DIR "/../shared/oracles/arch/" + name + ".gguf", std::ios::binary);
  std::stringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

// Where the GGUF string `text` begins behind its 64-bit length; npos when it is not there.
size_t FindString(const std::string& file, const std::string& text) {
  uint64_t length = text.size();
  std::string coded(sizeof(length), '\0');
  std::memcpy(coded.data(), &length, sizeof(length));
  const size_t place = file.find(coded + text);
  return place == std::string::npos ? place : place + sizeof(length);
}

// Writes four bytes over the value of a key.
std::string WithValue(std::string file, const std::string& key, uint32_t value) {
  const size_t place = FindString(file, key) + key.size() + sizeof(uint32_t);
  std::memcpy(file.data() + place, &value, sizeof(value));
  return file;
}

// Another name of the same length, which nothing looks for.
std::string WithoutName(std::string file, const std::string& name) {
  file[FindString(file, name)] = '?';
  return file;
}

class HostileConfig : public testing::Test {
 protected:
  // Loads the whole model and, where that works, runs three tokens.
  absl::Status Try(const std::string& file) {
    auto header = GgufModel::Read({std::shared_ptr<const Store>(MemoryStore("test", file))});
    if (!header.ok()) {
      return header.status();
    }
    const auto config = ReadModelConfig(**header);
    if (!config.ok()) {
      return config.status();
    }
    MappedWeights weights((*header)->parts());
    const auto slice = Slice::Create({.model = header->get(),
                                      .weights = &weights,
                                      .device = device_.get(),
                                      .first_layer = 0,
                                      .last_layer = config->layers,
                                      .kv_blocks = 2,
                                      .kv_block_tokens = 8,
                                      .step_tokens_max = 8,
                                      .context_tokens = 16});
    if (!slice.ok()) {
      return slice.status();
    }
    const std::vector<int32_t> tokens = {5, 6, 7}, blocks = {1, 0};
    const SequenceStep sequence{.first_position = 0, .tokens = tokens, .blocks = blocks};
    const int32_t row = 2;
    return (*slice)->ForwardToLogits({.sequences = {&sequence, 1}, .activations = {}}, {&row, 1},
                                     [](int64_t, Tensor) {});
  }

  std::unique_ptr<Device> device_ = *CreateCpuDevice({.threads = 1, .pin = false});
};

TEST_F(HostileConfig, EveryNumberMayBeAnything) {
  const std::vector<uint32_t> values = {0,
                                        1,
                                        2,
                                        3,
                                        5,
                                        7,
                                        33,
                                        255,
                                        65536,
                                        1u << 20,
                                        0x7fffffff,
                                        0x80000000,
                                        0xffffffff,
                                        std::bit_cast<uint32_t>(-1.0f),
                                        std::bit_cast<uint32_t>(std::numeric_limits<float>::infinity()),
                                        std::bit_cast<uint32_t>(std::numeric_limits<float>::quiet_NaN()),
                                        std::bit_cast<uint32_t>(1e-30f),
                                        std::bit_cast<uint32_t>(1e30f)};
  int refused = 0;
  for (const char* name : {"mixtral-f32", "deepseek2-v3-f32", "deepseek2-legacy-kv_b-f16", "gemma3-f32", "gemma2-f32",
                           "gpt-oss-f32", "llama4-f32", "glm4moe-f32", "granitemoe-f32", "mistral3-f32",
                           "llama-rope-yarn-f32", "phi3-longrope-q4_k", "command-r-f32", "starcoder2-f32"}) {
    const std::string file = FileOf(name);
    const OracleModel model = LoadOracle(name);
    ASSERT_TRUE(Try(file).ok()) << name;
    for (const auto& [key, old] : model.header->metadata().values()) {
      const bool number = std::holds_alternative<int64_t>(old) || std::holds_alternative<uint64_t>(old) ||
                          std::holds_alternative<double>(old);
      if (!number || !key.starts_with(model.header->architecture() + ".")) {
        continue;
      }
      for (const uint32_t value : values) {
        const absl::Status status = Try(WithValue(file, key, value));
        refused += status.ok() ? 0 : 1;
        EXPECT_TRUE(status.ok() || status.code() == absl::StatusCode::kInvalidArgument) << key << ": " << status;
      }
    }
  }
  EXPECT_GT(refused, 500);
}

TEST_F(HostileConfig, MissingKeysAreNamed) {
  for (const auto& [name, key] : std::vector<std::pair<std::string, std::string>>{
           {"llama-f32", "llama.attention.head_count"},
           {"llama-f32", "llama.attention.layer_norm_rms_epsilon"},
           {"llama-f32", "llama.feed_forward_length"},
           {"llama-rope-yarn-f32", "llama.rope.scaling.original_context_length"},
           {"mixtral-f32", "llama.expert_used_count"},
           {"deepseek2-v3-f32", "deepseek2.attention.kv_lora_rank"},
           {"gemma3-f32", "gemma3.attention.sliding_window"},
           {"llama4-f32", "llama4.interleave_moe_layer_step"}}) {
    const absl::Status status = Try(WithoutName(FileOf(name), key));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << name << " without " << key;
    EXPECT_THAT(std::string(status.message()), HasSubstr(key.substr(key.find('.') + 1)));
  }
}

TEST_F(HostileConfig, EveryMissingTensorIsNamed) {
  for (const char* name : {"llama-f32", "deepseek2-v3-f32", "gpt-oss-f32", "qwen2moe-f32", "phi3-f32", "starcoder2-f32",
                           "gemma3-f32", "olmoe-f32"}) {
    const std::string file = FileOf(name);
    const OracleModel model = LoadOracle(name);
    for (const GgufTensor& tensor : model.header->tensors()) {
      const absl::Status status = Try(WithoutName(file, tensor.name));
      const bool optional = tensor.name == "output.weight" || tensor.name.ends_with("exp_probs_b.bias");
      if (!optional) {
        EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << name << " without " << tensor.name;
        EXPECT_THAT(std::string(status.message()), HasSubstr(tensor.name));
      }
    }
  }
}

TEST_F(HostileConfig, WrongShapesNameTheTensorAndBothShapes) {
  const absl::Status status = Try(WithValue(FileOf("llama-f32"), "llama.feed_forward_length", 161));
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("tensor blk.0.ffn_up.weight has shape [128, 160, 1, 1], want [128, 161, 1]"));
}

TEST_F(HostileConfig, AnExtraTensorOfALayerIsAnError) {
  // Ignoring a tensor would give wrong answers quietly. The selection bias is optional, so its absence alone is fine.
  std::string file = FileOf("glm4moe-f32");
  const std::string name = "blk.1.exp_probs_b.bias";
  ASSERT_NE(FindString(file, name), std::string::npos);
  file.replace(FindString(file, name), name.size(), "blk.1.exp_probs_c.bias");
  EXPECT_THAT(std::string(Try(file).message()), HasSubstr("tensor blk.1.exp_probs_c.bias is not one"));
}

}  // namespace
}  // namespace barn
