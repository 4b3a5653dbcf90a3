#include "sharding/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"

namespace barn {
namespace {

namespace fs = std::filesystem;

const fs::path kOracles = fs::path(BARN_SOURCE_DIR) / "../shared/oracles";

std::vector<fs::path> Files(const fs::path& folder, const std::string& extension) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == extension) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

nlohmann::json ReadJson(const fs::path& path) {
  std::ifstream stream(path);
  return nlohmann::json::parse(stream);
}

// Every key, type, value and tensor of the oracles' JSON files.
TEST(Gguf, ReadsEveryArchitectureOracle) {
  const std::vector<fs::path> files = Files(kOracles / "arch", ".gguf");
  ASSERT_EQ(files.size(), 47u);
  for (const fs::path& file : files) {
    SCOPED_TRACE(file.filename());
    const auto model = GgufModel::Open(file.string());
    ASSERT_TRUE(model.ok()) << model.status();
    const nlohmann::json expected = ReadJson(fs::path(file).replace_extension(".json"));
    EXPECT_EQ((*model)->architecture(), expected["architecture"]);
    ASSERT_EQ((*model)->tensors().size(), expected["tensors"].size());
    for (const auto& [name, shape] : expected["tensors"].items()) {
      const GgufTensor* tensor = (*model)->FindTensor(name);
      ASSERT_NE(tensor, nullptr) << name;
      EXPECT_EQ(Info(tensor->dtype).name, shape[0]) << name;
      ASSERT_EQ(tensor->dim_count, static_cast<int>(shape.size()) - 1) << name;
      for (int d = 0; d < tensor->dim_count; ++d) EXPECT_EQ(tensor->dims[d], shape[d + 1]) << name;
    }
    for (const auto& [key, value] : expected["metadata"].items()) {
      SCOPED_TRACE(key);
      const GgufMetadata& metadata = (*model)->metadata();
      if (value.is_boolean()) {
        EXPECT_EQ(metadata.Bool(key), value.get<bool>());
      } else if (value.is_number_integer()) {
        EXPECT_EQ(metadata.Int(key), value.get<int64_t>());
      } else if (value.is_number_float()) {
        ASSERT_TRUE(metadata.Float(key).has_value());
        EXPECT_FLOAT_EQ(static_cast<float>(*metadata.Float(key)), value.get<float>());
      } else if (value.is_string()) {
        EXPECT_EQ(metadata.String(key), value.get<std::string>());
      } else {
        ADD_FAILURE() << "no check for " << value;
      }
    }
  }
}

TEST(Gguf, ReadsEveryTensorType) {
  const auto model = GgufModel::Open((kOracles / "quant/quant_types.gguf").string());
  ASSERT_TRUE(model.ok()) << model.status();
  const nlohmann::json expected = ReadJson(kOracles / "quant/quant_types.json");
  ASSERT_GE(expected["types"].size(), 40u);
  for (const auto& [name, facts] : expected["types"].items()) {
    SCOPED_TRACE(name);
    const GgufTensor* tensor = (*model)->FindTensor(name);
    ASSERT_NE(tensor, nullptr);
    EXPECT_EQ(static_cast<int64_t>(tensor->dtype), facts["ggml_type"]);
    EXPECT_EQ(tensor->size_bytes, RowBytes(tensor->dtype, expected["cols"]) * expected["rows"].get<int64_t>());
  }
}

TEST(Gguf, ReadsEveryVocabulary) {
  const nlohmann::json vectors = ReadJson(kOracles / "tokenizers/vectors.json");
  ASSERT_EQ(vectors.size(), 7u);
  for (const auto& [name, facts] : vectors.items()) {
    SCOPED_TRACE(name);
    const auto model = GgufModel::Open((kOracles / "tokenizers" / facts["file"].get<std::string>()).string());
    ASSERT_TRUE(model.ok()) << model.status();
    const std::vector<std::string>* tokens = (*model)->metadata().Strings("tokenizer.ggml.tokens");
    ASSERT_NE(tokens, nullptr);
    EXPECT_EQ(tokens->size(), facts["n_vocab"]);
    EXPECT_TRUE((*model)->tensors().empty());
  }
}

TEST(Gguf, ReadsHeadersOfLargeModels) {
  const std::vector<fs::path> files = Files(kOracles / "plan", ".gguf-header");
  ASSERT_EQ(files.size(), 8u);
  for (const fs::path& file : files) {
    SCOPED_TRACE(file.filename());
    EXPECT_TRUE(absl::IsDataLoss(GgufModel::Open(file.string()).status()));
    const auto model = GgufModel::Open(file.string(), {.header_only = true});
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_GT((*model)->tensors().size(), 250u);
  }
}

}  // namespace
}  // namespace barn
