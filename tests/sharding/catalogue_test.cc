#include "sharding/catalogue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>

#include "nlohmann/json.hpp"
#include "sharding/model_config.h"
#include "tests/sharding/gguf_builder.h"

namespace barn {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

const fs::path kOracles = fs::path(BARN_SOURCE_DIR) / "../shared/oracles";

std::unique_ptr<GgufModel> ReadOne(const GgufFile& file) {
  std::vector<std::shared_ptr<const Store>> parts = {MemoryStore("one.gguf", file.Build())};
  auto model = GgufModel::Read(parts);
  EXPECT_TRUE(model.ok()) << model.status();
  return model.ok() ? *std::move(model) : nullptr;
}

// Category names of the oracle, by role.
std::map<std::string, int64_t> Categories(const Catalogue& catalogue) {
  const auto bytes = [&](TensorRole role) { return catalogue.bytes_by_role[static_cast<size_t>(role)]; };
  std::map<std::string, int64_t> categories = {
      {"embeddings", bytes(TensorRole::kEmbedding)},
      {"attention", bytes(TensorRole::kAttention)},
      {"dense_ffn", bytes(TensorRole::kDenseFfn)},
      {"router", bytes(TensorRole::kRouter)},
      {"routed_experts", bytes(TensorRole::kExpert)},
      {"shared_experts", bytes(TensorRole::kSharedExpert)},
      {"output", bytes(TensorRole::kHead)},
      {"norms_and_other", bytes(TensorRole::kNorm) + bytes(TensorRole::kOther)}};
  std::erase_if(categories, [](const auto& category) { return category.second == 0; });
  return categories;
}

TEST(Catalogue, TotalsOfLargeModels) {
  std::ifstream stream(kOracles / "plan/totals.json");
  const nlohmann::json totals = nlohmann::json::parse(stream);
  int models = 0;
  for (const auto& [name, expected] : totals.items()) {
    if (!expected.is_object() || !expected.contains("header_file")) continue;
    SCOPED_TRACE(name);
    ++models;
    const std::string file = (kOracles / "plan" / expected["header_file"].get<std::string>()).string();
    const auto model = GgufModel::Open(file, {.header_only = true});
    ASSERT_TRUE(model.ok()) << model.status();
    const auto catalogue = BuildCatalogue(**model);
    ASSERT_TRUE(catalogue.ok()) << catalogue.status();
    EXPECT_EQ(catalogue->entries.size(), expected["tensors"]);
    EXPECT_EQ(catalogue->total_bytes, expected["tensor_data_bytes"]);
    const auto categories = expected["bytes_by_category"].get<std::map<std::string, int64_t>>();
    EXPECT_EQ(Categories(*catalogue), categories);
    // One expert of one layer: the sum over that layer's expert tensors.
    std::map<int64_t, int64_t> expert_bytes;
    for (const CatalogueEntry& entry : catalogue->entries) {
      if (entry.experts > 0) expert_bytes[entry.layer] += entry.expert_bytes;
    }
    std::set<int64_t> distinct;
    for (const auto& [layer, bytes] : expert_bytes) distinct.insert(bytes);
    if (expected.contains("bytes_per_routed_expert_per_layer")) {
      EXPECT_EQ(distinct, expected["bytes_per_routed_expert_per_layer"]["distinct"].get<std::set<int64_t>>());
    } else {
      EXPECT_TRUE(distinct.empty());
    }
    const auto config = ReadModelConfig(**model);
    ASSERT_TRUE(config.ok()) << config.status();
    int64_t kv_elements = 0;
    for (const KvShape& shape : config->kv) kv_elements += shape.elements_per_token();
    EXPECT_EQ(2 * kv_elements, expected["kv_bytes_per_token_f16"]);
  }
  EXPECT_EQ(models, 8);
}

TEST(Catalogue, SumsOfEveryOracle) {
  int models = 0;
  for (const auto& file : fs::directory_iterator(kOracles / "arch")) {
    if (file.path().extension() != ".gguf") continue;
    SCOPED_TRACE(file.path().filename());
    ++models;
    const auto model = GgufModel::Open(file.path().string());
    ASSERT_TRUE(model.ok()) << model.status();
    const auto catalogue = BuildCatalogue(**model);
    ASSERT_TRUE(catalogue.ok()) << catalogue.status();
    int64_t tensor_bytes = 0;
    for (const GgufTensor& tensor : (*model)->tensors()) tensor_bytes += tensor.size_bytes;
    int64_t role_bytes = 0;
    for (const int64_t bytes : catalogue->bytes_by_role) role_bytes += bytes;
    int64_t layer_bytes = 0;
    for (int64_t layer = 0; layer < catalogue->layers; ++layer) layer_bytes += catalogue->LayerBytes(layer);
    EXPECT_EQ(catalogue->total_bytes, tensor_bytes);
    EXPECT_EQ(role_bytes, tensor_bytes);
    for (const CatalogueEntry& entry : catalogue->entries) {
      if (entry.layer < 0) layer_bytes += entry.tensor.size_bytes;
      // Every tensor of a supported model has a role; only rope factors stand aside.
      if (entry.role == TensorRole::kOther) {
        EXPECT_THAT(entry.tensor.name, HasSubstr("rope_f"));
      }
      if (entry.experts == 0) continue;
      EXPECT_EQ(entry.experts * entry.expert_bytes, entry.tensor.size_bytes) << entry.tensor.name;
      const ModelRange last = ExpertRange(entry, entry.experts - 1);
      EXPECT_EQ(last.offset_bytes + last.size_bytes, entry.tensor.offset_bytes + entry.tensor.size_bytes);
      EXPECT_EQ(ExpertRange(entry, 0).offset_bytes, entry.tensor.offset_bytes);
    }
    EXPECT_EQ(layer_bytes, tensor_bytes);
  }
  EXPECT_EQ(models, 47);
}

TEST(Catalogue, RolesByName) {
  const auto model = ReadOne(TinyModel{.experts = 4}.File());
  const auto catalogue = BuildCatalogue(*model);
  ASSERT_TRUE(catalogue.ok()) << catalogue.status();
  std::map<std::string, TensorRole> roles;
  for (const CatalogueEntry& entry : catalogue->entries) roles[entry.tensor.name] = entry.role;
  EXPECT_EQ(roles["token_embd.weight"], TensorRole::kEmbedding);
  EXPECT_EQ(roles["output.weight"], TensorRole::kHead);
  EXPECT_EQ(roles["output_norm.weight"], TensorRole::kNorm);
  EXPECT_EQ(roles["rope_freqs.weight"], TensorRole::kOther);
  EXPECT_EQ(roles["blk.1.attn_norm.weight"], TensorRole::kNorm);
  EXPECT_EQ(roles["blk.1.attn_q.weight"], TensorRole::kAttention);
  EXPECT_EQ(roles["blk.1.ffn_gate_inp.weight"], TensorRole::kRouter);
  EXPECT_EQ(roles["blk.1.ffn_up_exps.weight"], TensorRole::kExpert);
  EXPECT_EQ(roles["blk.1.ffn_up_exps.bias"], TensorRole::kExpert);
  EXPECT_EQ(roles["blk.1.ffn_up_shexp.weight"], TensorRole::kSharedExpert);
  EXPECT_FALSE(catalogue->tied_head);
  EXPECT_EQ(catalogue->layers, 2);
  const auto bias = std::find_if(catalogue->entries.begin(), catalogue->entries.end(), [](const CatalogueEntry& entry) {
    return entry.tensor.name == "blk.1.ffn_up_exps.bias";
  });
  EXPECT_EQ(bias->experts, 4);
  EXPECT_EQ(bias->expert_bytes, 16 * 4);
}

TEST(Catalogue, PredictionLayersStandAside) {
  const auto model = ReadOne(TinyModel{.layers = 3, .nextn_layers = 1, .tied = true}.File());
  const auto catalogue = BuildCatalogue(*model);
  ASSERT_TRUE(catalogue.ok()) << catalogue.status();
  EXPECT_EQ(catalogue->layers, 2);
  EXPECT_TRUE(catalogue->tied_head);
  EXPECT_GT(catalogue->bytes_by_role[static_cast<size_t>(TensorRole::kOther)], catalogue->LayerBytes(0));
}

TEST(Catalogue, Refusals) {
  const auto message = [](const GgufFile& file) {
    const auto catalogue = BuildCatalogue(*ReadOne(file));
    EXPECT_TRUE(absl::IsInvalidArgument(catalogue.status())) << catalogue.status();
    return std::string(catalogue.status().message());
  };
  const auto with = [](const std::string& tensor, const std::vector<uint64_t>& dims) {
    GgufFile file = TinyModel{.experts = 4}.File();
    file.tensors.push_back(TensorInfo(tensor, dims, 0, file.data_bytes));
    file.data_bytes += 1 << 16;
    return file;
  };
  EXPECT_THAT(message(with("blk.0.ffn_gate.3.weight", {32, 16})), HasSubstr("one tensor per expert"));
  EXPECT_THAT(message(with("blk.2.attn_q.weight", {32})), HasSubstr("the layers end at 2"));
  EXPECT_THAT(message(with("blk.1.ffn_down_exps.weight", {16, 32, 5})), HasSubstr("5 experts, but expert_count is 4"));
  GgufFile hollow = TinyModel{.layers = 2}.File();
  hollow.metadata[1] = KvU32("llama.block_count", 3);
  EXPECT_THAT(message(hollow), HasSubstr("layer 2 of 3 has no tensors"));
  hollow.metadata[1] = KvU32("llama.block_count", 1u << 31);
  EXPECT_THAT(message(hollow), HasSubstr("metadata key \"llama.block_count\" is 2147483648, not 0 to 1024"));
  hollow.metadata[1] = KvU32("llama.block_count", 2);
  hollow.metadata.push_back(KvU32("llama.nextn_predict_layers", 3));
  EXPECT_THAT(message(hollow), HasSubstr("nextn_predict_layers\" is 3, but block_count is 2"));
}

}  // namespace
}  // namespace barn
