#include "sharding/adapter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

#include "sharding/hf_names.h"
#include "sharding/safetensors.h"
#include "tests/sharding/gguf_builder.h"

namespace barn {
namespace {

using testing::HasSubstr;

std::unique_ptr<GgufModel> Base(const TinyModel& shape = {}) {
  auto model = GgufModel::Read({MemoryStore("base.gguf", shape.File().Build())});
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

// A GGUF adapter; values of a tensor count up from its place in the list.
struct GgufAdapter {
  std::vector<std::string> metadata = {KvString("general.type", "adapter"), KvString("adapter.type", "lora"),
                                       KvString("general.architecture", "llama"), KvF32("adapter.lora.alpha", 8)};
  struct Tensor {
    std::string name;
    std::vector<uint64_t> dims;
  };
  std::vector<Tensor> tensors = {{"blk.0.attn_q.weight.lora_a", {32, 4}}, {"blk.0.attn_q.weight.lora_b", {4, 32}}};

  std::string Build() const {
    GgufFile file;
    file.metadata = metadata;
    std::string data;
    for (size_t i = 0; i < tensors.size(); ++i) {
      file.tensors.push_back(TensorInfo(tensors[i].name, tensors[i].dims, 0, data.size()));
      uint64_t count = 1;
      for (const uint64_t dim : tensors[i].dims) count *= dim;
      for (uint64_t v = 0; v < count; ++v) {
        const float value = static_cast<float>(1000 * i + v);
        data.append(reinterpret_cast<const char*>(&value), sizeof(value));
      }
      data.resize((data.size() + 31) / 32 * 32);
    }
    file.data_bytes = data.size();
    std::string bytes = file.Build();
    return bytes.replace(bytes.size() - data.size(), data.size(), data);
  }
  absl::StatusOr<std::unique_ptr<Adapter>> Read(const GgufModel& base) const {
    return Adapter::Read({MemoryStore("adapter.gguf", Build())}, base);
  }
  std::string Error(const GgufModel& base) const { return std::string(Read(base).status().message()); }
};

std::string Safetensors(const std::string& header, const std::string& data) {
  return Bytes().U64(header.size()).Raw(header).Raw(data).str();
}

// F32 tensors whose values count up from their place in the list.
struct PeftAdapter {
  struct Tensor {
    std::string name;
    int64_t rows = 0, cols = 0;
  };
  std::string config = R"({"peft_type": "LORA", "r": 2, "lora_alpha": 6, "bias": "none", "modules_to_save": null})";
  std::vector<Tensor> tensors;

  std::string File() const {
    std::string header = "{\"__metadata__\": {\"format\": \"pt\"}", data;
    for (size_t i = 0; i < tensors.size(); ++i) {
      const size_t begin = data.size();
      for (int64_t v = 0; v < tensors[i].rows * tensors[i].cols; ++v) {
        const auto value = static_cast<float>(1000 * static_cast<int64_t>(i) + v);
        data.append(reinterpret_cast<const char*>(&value), sizeof(value));
      }
      header += ", \"" + tensors[i].name + "\": {\"dtype\": \"F32\", \"shape\": [" + std::to_string(tensors[i].rows) +
                ", " + std::to_string(tensors[i].cols) + "], \"data_offsets\": [" + std::to_string(begin) + ", " +
                std::to_string(data.size()) + "]}";
    }
    return Safetensors(header + "}", data);
  }
  absl::StatusOr<std::unique_ptr<Adapter>> Read(const GgufModel& base) const {
    return Adapter::Read({MemoryStore("adapter_config.json", config), MemoryStore("adapter_model.safetensors", File())},
                         base);
  }
  std::string Error(const GgufModel& base) const { return std::string(Read(base).status().message()); }
};

PeftAdapter PeftOf(const std::string& module, int64_t rows, int64_t cols) {
  PeftAdapter adapter;
  adapter.tensors = {{"base_model.model.model." + module + ".lora_A.weight", 2, cols},
                     {"base_model.model.model." + module + ".lora_B.weight", rows, 2}};
  return adapter;
}

std::vector<float> Floats(const FactorRows& rows) {
  EXPECT_EQ(rows.dtype, DType::kF32);
  std::vector<float> values(rows.bytes.size() / sizeof(float));
  std::memcpy(values.data(), rows.bytes.data(), rows.bytes.size());
  return values;
}

TEST(GgufAdapterTest, ReadsFactorsAndScale) {
  const auto adapter = GgufAdapter().Read(*Base());
  ASSERT_TRUE(adapter.ok()) << adapter.status();
  ASSERT_EQ((*adapter)->pairs().size(), 1u);
  const AdapterPair& pair = (*adapter)->pairs()[0];
  EXPECT_EQ(pair.tensor, "blk.0.attn_q.weight");
  EXPECT_EQ(pair.rank(), 4);
  EXPECT_EQ(pair.scale, 2.0f);
  EXPECT_EQ((*adapter)->parameters(), 256);
  EXPECT_EQ((*adapter)->bytes(), 1024);
  const std::vector<float> a = Floats(*(*adapter)->ReadA(pair));
  ASSERT_EQ(a.size(), 128u);
  EXPECT_EQ(a[33], 33.0f);
  const FactorRows rows = *(*adapter)->ReadB(pair, 5, 2);
  EXPECT_EQ(rows.rows, 2);
  EXPECT_EQ(Floats(rows), (std::vector<float>{1020, 1021, 1022, 1023, 1024, 1025, 1026, 1027}));
}

TEST(GgufAdapterTest, AnAlphaOfZeroIsNone) {
  GgufAdapter adapter;
  adapter.metadata.back() = KvF32("adapter.lora.alpha", 0);
  EXPECT_EQ((*adapter.Read(*Base()))->pairs()[0].scale, 1.0f);
}

// The embedding's A is a table with a row for each token.
TEST(GgufAdapterTest, TheEmbeddingIsLookedUp) {
  GgufAdapter adapter;
  adapter.tensors = {{"token_embd.weight.lora_a", {4, 8}}, {"token_embd.weight.lora_b", {4, 32}}};
  const auto read = adapter.Read(*Base());
  ASSERT_TRUE(read.ok()) << read.status();
  const FactorRows a = *(*read)->ReadA((*read)->pairs()[0]);
  EXPECT_EQ(a.rows, 8);
  EXPECT_EQ(a.cols, 4);
  // As other weights have it, it does not fit.
  adapter.tensors = {{"token_embd.weight.lora_a", {32, 4}}, {"token_embd.weight.lora_b", {4, 8}}};
  EXPECT_THAT(adapter.Error(*Base()), HasSubstr("do not fit tensor \"token_embd.weight\""));
}

TEST(GgufAdapterTest, TheHeadOfATiedModelIsItsEmbedding) {
  GgufAdapter adapter;
  adapter.tensors = {{"output.weight.lora_a", {32, 4}}, {"output.weight.lora_b", {4, 8}}};
  EXPECT_TRUE(adapter.Read(*Base({.tied = true})).ok());
}

TEST(GgufAdapterTest, RefusesWhatIsNoneByName) {
  const auto base = Base();
  const auto error = [&](const std::string& key, const std::string& entry) {
    GgufAdapter adapter;
    std::erase_if(adapter.metadata, [&](const std::string& one) { return one.find(key) != std::string::npos; });
    if (!entry.empty()) adapter.metadata.push_back(entry);
    return adapter.Error(*base);
  };
  EXPECT_THAT(error("general.type", ""), HasSubstr("general.type is missing, want \"adapter\""));
  EXPECT_THAT(error("general.type", KvString("general.type", "model")), HasSubstr("general.type is \"model\""));
  EXPECT_THAT(error("adapter.type", KvString("adapter.type", "vector")), HasSubstr("adapter.type is \"vector\""));
  EXPECT_THAT(error("general.architecture", KvString("general.architecture", "qwen2")),
              HasSubstr("for architecture \"qwen2\", the model is llama"));
  EXPECT_THAT(error("adapter.lora.alpha", ""), HasSubstr("adapter.lora.alpha is missing"));
  EXPECT_THAT(error("adapter.lora.alpha", KvF32("adapter.lora.alpha", NAN)), HasSubstr("alpha / rank is no number"));
  EXPECT_THAT(error("nothing", KvU32("adapter.alora.invocation_tokens", 1)), HasSubstr("activated LoRA"));
}

TEST(GgufAdapterTest, RefusesTensorsThatDoNotFitWithTheNumbers) {
  const auto base = Base({.experts = 4});
  const auto error = [&](std::vector<GgufAdapter::Tensor> tensors) {
    GgufAdapter adapter;
    adapter.tensors = std::move(tensors);
    return adapter.Error(*base);
  };
  EXPECT_THAT(error({}), HasSubstr("holds no tensors"));
  EXPECT_THAT(error({{"blk.0.attn_q.weight.lora_a", {32, 4}}}), HasSubstr("\"blk.0.attn_q.weight\" has no .lora_b"));
  EXPECT_THAT(error({{"blk.0.attn_q.weight", {32, 4}}}), HasSubstr("neither a .lora_a nor a .lora_b"));
  EXPECT_THAT(error({{"blk.7.attn_q.weight.lora_a", {32, 4}}, {"blk.7.attn_q.weight.lora_b", {4, 32}}}),
              HasSubstr("the model has no tensor \"blk.7.attn_q.weight\""));
  EXPECT_THAT(error({{"blk.0.attn_norm.weight.lora_a", {32, 4}}, {"blk.0.attn_norm.weight.lora_b", {4, 32}}}),
              HasSubstr("is no matrix"));
  EXPECT_THAT(error({{"blk.0.attn_q.weight.lora_a", {16, 4}}, {"blk.0.attn_q.weight.lora_b", {4, 32}}}),
              HasSubstr("A [4, 16] and B [32, 4] do not fit tensor \"blk.0.attn_q.weight\", which is [32, 32]"));
  EXPECT_THAT(error({{"blk.0.attn_q.weight.lora_a", {32, 4}}, {"blk.0.attn_q.weight.lora_b", {5, 32}}}),
              HasSubstr("do not fit"));
  EXPECT_THAT(error({{"blk.0.attn_q.weight.lora_a", {32, 4097}}, {"blk.0.attn_q.weight.lora_b", {4097, 32}}}),
              HasSubstr("rank 4097, allowed are 1 to 4096"));
  EXPECT_THAT(error({{"blk.0.ffn_up_exps.weight.lora_a", {32, 4, 4}}, {"blk.0.ffn_up_exps.weight.lora_b", {4, 16, 4}}}),
              HasSubstr("holds 4 matrices (experts or heads)"));
  EXPECT_THAT(error({{"blk.0.attn_q.weight.lora_a", {32, 4, 2}}, {"blk.0.attn_q.weight.lora_b", {4, 32}}}),
              HasSubstr("do not fit"));
}

TEST(PeftAdapterTest, ReadsFactorsAndScale) {
  const auto adapter = PeftOf("layers.1.mlp.up_proj", 64, 32).Read(*Base());
  ASSERT_TRUE(adapter.ok()) << adapter.status();
  const AdapterPair& pair = (*adapter)->pairs()[0];
  EXPECT_EQ(pair.tensor, "blk.1.ffn_up.weight");
  EXPECT_EQ(pair.scale, 3.0f);
  EXPECT_EQ(Floats(*(*adapter)->ReadA(pair))[40], 40.0f);
  EXPECT_EQ(Floats(*(*adapter)->ReadB(pair, 3, 1)), (std::vector<float>{1006, 1007}));
}

TEST(PeftAdapterTest, RankStabilizedAndPatterns) {
  PeftAdapter adapter = PeftOf("layers.1.mlp.up_proj", 64, 32);
  adapter.config = R"({"peft_type": "LORA", "r": 8, "lora_alpha": 6, "use_rslora": true,
                       "rank_pattern": {"up_proj": 2}, "alpha_pattern": {"layers.1.mlp.up_proj": 5}})";
  const auto read = adapter.Read(*Base());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_FLOAT_EQ((*read)->pairs()[0].scale, 5 / std::sqrt(2.0f));
  adapter.config = R"({"peft_type": "LORA", "r": 2, "lora_alpha": 6, "rank_pattern": {"^x.*up": 2}})";
  EXPECT_THAT(adapter.Error(*Base()), HasSubstr("rank_pattern has \"^x.*up\", a pattern"));
  adapter.config = R"({"peft_type": "LORA", "r": 3, "lora_alpha": 6})";
  EXPECT_THAT(adapter.Error(*Base()), HasSubstr("has rank 2, adapter_config.json says 3"));
}

// Rows of a llama's q and k: row 2 i + h of a head is HF's row i + h * width / 2.
TEST(PeftAdapterTest, RowsOfRotaryPairsStandSideBySide) {
  PeftAdapter adapter = PeftOf("layers.0.self_attn.q_proj", 32, 32);
  const auto read = adapter.Read(*Base());
  ASSERT_TRUE(read.ok()) << read.status();
  const AdapterPair& pair = (*read)->pairs()[0];
  EXPECT_EQ(pair.heads_to_pair, 4);  // Of 8 rows.
  const std::vector<float> b = Floats(*(*read)->ReadB(pair, 0, 32));
  for (int head = 0; head < 4; ++head) {
    for (int row = 0; row < 8; ++row) {
      const int from = head * 8 + row / 2 + row % 2 * 4;
      EXPECT_EQ(b[(head * 8 + row) * 2], static_cast<float>(1000 + 2 * from)) << head << " " << row;
    }
  }
  const std::vector<float> some = Floats(*(*read)->ReadB(pair, 9, 3));
  EXPECT_EQ(some, std::vector<float>(b.begin() + 18, b.begin() + 24));
}

TEST(PeftAdapterTest, TheEmbeddingIsTransposed) {
  PeftAdapter adapter;
  adapter.tensors = {{"base_model.model.model.embed_tokens.lora_embedding_A", 2, 8},
                     {"base_model.model.model.embed_tokens.lora_embedding_B", 32, 2}};
  const auto read = adapter.Read(*Base());
  ASSERT_TRUE(read.ok()) << read.status();
  const AdapterPair& pair = (*read)->pairs()[0];
  const FactorRows a = *(*read)->ReadA(pair);
  EXPECT_EQ(a.rows, 8);
  EXPECT_EQ(Floats(a), (std::vector<float>{0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15}));
}

TEST(PeftAdapterTest, RefusesSettingsThatWouldChangeTheMeaning) {
  for (const auto& [setting, word] :
       std::vector<std::pair<std::string, std::string>>{{R"("use_dora": true)", "use_dora"},
                                                        {R"("fan_in_fan_out": true)", "fan_in_fan_out"},
                                                        {R"("bias": "all")", "bias"},
                                                        {R"("modules_to_save": ["lm_head"])", "modules_to_save"},
                                                        {R"("peft_type": "IA3")", "peft_type"}}) {
    PeftAdapter adapter = PeftOf("layers.1.mlp.up_proj", 64, 32);
    adapter.config = R"({"peft_type": "LORA", "r": 2, "lora_alpha": 6, )" + setting + "}";
    EXPECT_THAT(adapter.Error(*Base()), HasSubstr(word));
  }
  PeftAdapter adapter = PeftOf("layers.1.mlp.up_proj", 64, 32);
  for (const char* config : {"", "[]", "{\"peft_type\": \"LORA\"}", "{\"peft_type\": \"LORA\", \"r\": -1}", "{"}) {
    adapter.config = config;
    EXPECT_FALSE(adapter.Read(*Base()).ok()) << config;
  }
  adapter = PeftOf("layers.1.mlp.experts.3.up_proj", 64, 32);
  EXPECT_THAT(adapter.Error(*Base()), HasSubstr("belongs to no weight"));
  adapter = PeftOf("layers.1.mlp.up_proj", 64, 32);
  adapter.tensors.push_back({"base_model.model.model.layers.1.mlp.up_proj.lora_A.default.weight", 2, 32});
  EXPECT_THAT(adapter.Error(*Base()), HasSubstr("there twice"));
}

TEST(SafetensorsTest, RefusesHeadersThatLie) {
  const auto error = [](const std::string& file) {
    return std::string(ReadSafetensors(*MemoryStore("x.safetensors", file)).status().message());
  };
  EXPECT_THAT(error("1234"), HasSubstr("4 bytes are no safetensors file"));
  EXPECT_THAT(error(Bytes().U64(UINT64_MAX).Raw("{}").str()), HasSubstr("a header of"));
  EXPECT_THAT(error(Safetensors("[1]", "")), HasSubstr("no JSON object"));
  const auto entry = [&](const std::string& text) { return error(Safetensors("{\"t\": " + text + "}", "12345678")); };
  EXPECT_THAT(entry("3"), HasSubstr("\"t\" lacks a dtype"));
  EXPECT_THAT(entry(R"({"dtype": "I8", "shape": [8], "data_offsets": [0, 8]})"), HasSubstr("type \"I8\""));
  EXPECT_THAT(entry(R"({"dtype": "F32", "shape": [3], "data_offsets": [0, 8]})"), HasSubstr("its shape needs 12"));
  EXPECT_THAT(entry(R"({"dtype": "F32", "shape": [4], "data_offsets": [0, 16]})"), HasSubstr("of 8 bytes"));
  EXPECT_THAT(entry(R"({"dtype": "F32", "shape": [2], "data_offsets": [8, 0]})"), HasSubstr("data_offsets [8, 0]"));
  EXPECT_THAT(entry(R"({"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]})"), HasSubstr("impossible shape"));
  EXPECT_THAT(entry(R"({"dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 8]})"),
              HasSubstr("impossible shape"));
  EXPECT_EQ(entry(R"({"dtype": "F32", "shape": [2], "data_offsets": [0, 8]})"), "");
}

TEST(HfNames, ModulesOfManyFamilies) {
  EXPECT_EQ(GgufTensorOfModule("model.layers.3.self_attn.o_proj"), "blk.3.attn_output.weight");
  EXPECT_EQ(GgufTensorOfModule("model.language_model.layers.0.mlp.down_proj"), "blk.0.ffn_down.weight");
  EXPECT_EQ(GgufTensorOfModule("model.layers.3.block_sparse_moe.gate"), "blk.3.ffn_gate_inp.weight");
  EXPECT_EQ(GgufTensorOfModule("lm_head"), "output.weight");
  EXPECT_EQ(GgufTensorOfModule("model.layers.x.self_attn.o_proj"), std::nullopt);
  EXPECT_EQ(GgufTensorOfModule("model.layers.99999999999.self_attn.o_proj"), std::nullopt);
  EXPECT_EQ(GgufTensorOfModule("vision_tower.layers.3.self_attn.o_proj"), std::nullopt);
}

TEST(AdapterPartsTest, AFolderIsTwoFiles) {
  namespace fs = std::filesystem;
  const fs::path folder = fs::path(testing::TempDir()) / "barn_adapter_parts";
  fs::create_directories(folder);
  EXPECT_THAT(AdapterParts(folder.string()).status().message(), HasSubstr("no adapter_config.json"));
  for (const char* name : {"adapter_config.json", "adapter_model.safetensors"}) std::ofstream(folder / name) << "x";
  EXPECT_EQ(AdapterParts(folder.string())->size(), 2u);
  fs::remove_all(folder);
  EXPECT_EQ(
      *AdapterParts("http://host:1/a/adapter_model.safetensors"),
      (std::vector<std::string>{"http://host:1/a/adapter_config.json", "http://host:1/a/adapter_model.safetensors"}));
  EXPECT_EQ(*AdapterParts("x.gguf"), std::vector<std::string>{"x.gguf"});
}

// Bytes that somebody has changed give an error or an adapter that can be read, and never more memory than the files
// have.
TEST(HostileAdapter, ChangedBytesAreReadOrRefused) {
  const auto base = Base();
  std::mt19937 random(1);
  GgufAdapter gguf;
  gguf.tensors.push_back({"token_embd.weight.lora_a", {4, 8}});
  gguf.tensors.push_back({"token_embd.weight.lora_b", {4, 32}});
  PeftAdapter peft = PeftOf("layers.0.self_attn.k_proj", 32, 32);
  peft.tensors.push_back({"base_model.model.lm_head.lora_A.weight", 2, 32});
  peft.tensors.push_back({"base_model.model.lm_head.lora_B.weight", 8, 2});
  int good = 0;
  for (int i = 0; i < 6000; ++i) {
    std::vector<std::string> files = {gguf.Build()};
    if (i % 2 == 1) files = {peft.config, peft.File()};
    std::string& file = files[random() % files.size()];
    for (size_t edits = random() % 4; edits > 0; --edits) {
      file[random() % std::min<size_t>(file.size(), 700)] = static_cast<char>(random() % 3 == 0 ? 0xff : random());
    }
    if (random() % 8 == 0) file.resize(random() % file.size());
    std::vector<std::shared_ptr<const Store>> parts;
    for (std::string& one : files) parts.push_back(MemoryStore("file", std::move(one)));
    const auto adapter = Adapter::Read(std::move(parts), *base);
    if (!adapter.ok()) {
      EXPECT_FALSE(adapter.status().message().empty());
      EXPECT_EQ(adapter.status().message().find('\n'), std::string::npos) << adapter.status();
      continue;
    }
    ++good;
    for (const AdapterPair& pair : (*adapter)->pairs()) {
      EXPECT_TRUE((*adapter)->ReadA(pair).ok());
      EXPECT_TRUE((*adapter)->ReadB(pair, 0, pair.b.rows).ok());
    }
  }
  EXPECT_GT(good, 1000);
}

}  // namespace
}  // namespace barn
