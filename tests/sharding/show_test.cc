#include "sharding/show.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "sharding/byte_text.h"
#include "sharding/file_type.h"
#include "tests/sharding/gguf_builder.h"

namespace barn {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

const fs::path kOracles = fs::path(BARN_SOURCE_DIR) / "../shared/oracles";

TEST(Show, LargeModel) {
  const auto model =
      GgufModel::Open((kOracles / "plan/Mixtral-8x7B-Q4_K_M.gguf-header").string(), {.header_only = true});
  ASSERT_TRUE(model.ok()) << model.status();
  const auto catalogue = BuildCatalogue(**model);
  ASSERT_TRUE(catalogue.ok()) << catalogue.status();
  const nlohmann::json json = ShowJson(**model, *catalogue);
  EXPECT_EQ(json["architecture"], "llama");
  EXPECT_EQ(json["file_type"], "Q4_K_M");
  EXPECT_EQ(json["parameters"], 46702792704);
  EXPECT_NEAR(json["bits_per_weight"].get<double>(), 4.873, 5e-4);
  EXPECT_EQ(json["bytes_by_role"]["expert"], 27304919040);
  EXPECT_EQ(json["layers"].size(), 32u);
  EXPECT_EQ(json["layers"][4]["experts"], 8);
  EXPECT_EQ(json["layers"][4]["expert_bytes"], 99090432);
  EXPECT_EQ(json["tensors"].size(), 323u);
  const std::string text = ShowText(**model, *catalogue);
  EXPECT_THAT(text, HasSubstr("bits per weight  4.87"));
  EXPECT_THAT(text, HasSubstr("parameters       46702792704"));
  EXPECT_THAT(text, HasSubstr("blk.31.ffn_down_exps.weight"));
}

// Names may hold anything: neither text nor JSON passes control characters or broken UTF-8 on.
TEST(Show, HostileNames) {
  GgufFile file = TinyModel{}.File();
  file.metadata.push_back(KvString("general.name", "\x1b[2J\xff"));
  file.tensors.push_back(TensorInfo("evil\n\xc3", {32}, 0, file.data_bytes));
  file.data_bytes += 128;
  std::vector<std::shared_ptr<const Store>> parts = {MemoryStore("one.gguf", file.Build())};
  const auto model = GgufModel::Read(parts);
  ASSERT_TRUE(model.ok()) << model.status();
  const auto catalogue = BuildCatalogue(**model);
  ASSERT_TRUE(catalogue.ok()) << catalogue.status();
  const std::string text = ShowText(**model, *catalogue);
  EXPECT_THAT(text, HasSubstr("\"\\x1b[2J\\xff\""));
  EXPECT_THAT(text, HasSubstr("\"evil\\x0a\\xc3\""));
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
  EXPECT_THAT(ShowJson(**model, *catalogue).dump(), HasSubstr("evil"));
}

TEST(FileTypeName, KnownAndUnknown) {
  EXPECT_EQ(FileTypeName(15), "Q4_K_M");
  EXPECT_EQ(FileTypeName(38), "MXFP4_MOE");
  EXPECT_EQ(FileTypeName(4), std::nullopt);
  EXPECT_EQ(FileTypeName(-1), std::nullopt);
}

TEST(ByteText, ThreeDigits) {
  EXPECT_EQ(ByteText(0), "0 B");
  EXPECT_EQ(ByteText(999), "999 B");
  EXPECT_EQ(ByteText(1023), "1023 B");
  EXPECT_EQ(ByteText(1024), "1.00 KiB");
  EXPECT_EQ(ByteText(12'800'000), "12.2 MiB");
  EXPECT_EQ(ByteText(int64_t{300} << 20), "300 MiB");
  EXPECT_EQ(ByteText(int64_t{5} << 29), "2.50 GiB");
  EXPECT_EQ(ByteText(int64_t{244142971904}), "227 GiB");
}

}  // namespace
}  // namespace barn
