#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "sharding/gguf.h"
#include "sharding/gguf_parts.h"
#include "tests/sharding/gguf_builder.h"

namespace barn {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<std::unique_ptr<GgufModel>> ReadOne(const std::string& file, const GgufOptions& options = {}) {
  std::vector<std::shared_ptr<const Store>> parts = {MemoryStore("one.gguf", file)};
  return GgufModel::Read(parts, options);
}

std::string Array(const std::string& key, uint32_t type, uint64_t count, const std::string& elements) {
  return Bytes().String(key).U32(kIdArray).U32(type).U64(count).Raw(elements).str();
}

TEST(GgufValues, EveryTypeReads) {
  const auto scalar = [](const std::string& key, uint32_t type) { return Bytes().String(key).U32(type); };
  const GgufFile file{.metadata = {
                          scalar("u8", kIdU8).Number<uint8_t>(255).str(),
                          scalar("i8", kIdI8).Number<int8_t>(-128).str(),
                          scalar("u16", kIdU16).Number<uint16_t>(65535).str(),
                          scalar("i16", kIdI16).Number<int16_t>(-32768).str(),
                          scalar("u32", kIdU32).Number<uint32_t>(4294967295u).str(),
                          scalar("i32", kIdI32).Number<int32_t>(-2147483647).str(),
                          scalar("f32", kIdF32).Number<float>(1.5f).str(),
                          scalar("bool", kIdBool).Number<uint8_t>(1).str(),
                          scalar("string", kIdString).String(std::string("a\0b", 3)).str(),
                          scalar("u64", kIdU64).Number<uint64_t>(~uint64_t{0}).str(),
                          scalar("i64", kIdI64).Number<int64_t>(-5).str(),
                          scalar("f64", kIdF64).Number<double>(3.0).str(),
                          Array("strings", kIdString, 2, Bytes().String("x").String("").str()),
                          Array("bools", kIdBool, 3, std::string("\1\0\1", 3)),
                          Array("i16s", kIdI16, 2, Bytes().Number<int16_t>(-1).Number<int16_t>(2).str()),
                          Array("u8s", kIdU8, 2, std::string("\xff\x01")),
                          Array("f32s", kIdF32, 1, Bytes().Number<float>(0.25f).str()),
                          Array("empty", kIdU32, 0, ""),
                      }};
  const auto model = ReadOne(file.Build());
  ASSERT_TRUE(model.ok()) << model.status();
  const GgufMetadata& metadata = (*model)->metadata();
  EXPECT_EQ(metadata.Int("u8"), 255);
  EXPECT_EQ(metadata.Int("i8"), -128);
  EXPECT_EQ(metadata.Int("u16"), 65535);
  EXPECT_EQ(metadata.Int("i16"), -32768);
  EXPECT_EQ(metadata.Int("u32"), 4294967295);
  EXPECT_EQ(metadata.Int("i32"), -2147483647);
  EXPECT_EQ(metadata.Float("f32"), 1.5);
  EXPECT_EQ(metadata.Int("f32"), std::nullopt);  // No whole number.
  EXPECT_EQ(metadata.Bool("bool"), true);
  EXPECT_EQ(metadata.Int("bool"), std::nullopt);
  EXPECT_EQ(metadata.String("string"), std::string("a\0b", 3));
  EXPECT_EQ(metadata.Int("u64"), std::nullopt);  // Does not fit.
  EXPECT_EQ(metadata.Float("u64"), 18446744073709551615.0);
  EXPECT_EQ(metadata.Int("i64"), -5);
  EXPECT_EQ(metadata.Int("f64"), 3);
  ASSERT_NE(metadata.Strings("strings"), nullptr);
  EXPECT_THAT(*metadata.Strings("strings"), ElementsAre("x", ""));
  EXPECT_EQ(metadata.Strings("bools"), nullptr);
  EXPECT_THAT(*metadata.Bools("bools"), ElementsAre(true, false, true));
  EXPECT_THAT(*metadata.Ints("i16s"), ElementsAre(-1, 2));
  EXPECT_THAT(*metadata.Ints("u8s"), ElementsAre(255, 1));
  EXPECT_THAT(*metadata.Ints("u8"), ElementsAre(255));
  EXPECT_THAT(*metadata.Floats("f32s"), ElementsAre(0.25));
  EXPECT_EQ(metadata.Ints("f32s"), std::nullopt);
  EXPECT_THAT(*metadata.Ints("empty"), ElementsAre());
  EXPECT_EQ(metadata.Ints("string"), std::nullopt);
  EXPECT_EQ(metadata.Find("absent"), nullptr);
}

TEST(GgufVersions, Version2ReadsLike3) {
  GgufFile file = TinyModel{}.File();
  file.version = 2;
  const auto model = ReadOne(file.Build());
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->tensors().size(), 10u);
}

TEST(GgufAlignment, KeyMovesTheData) {
  const GgufFile file{.metadata = {KvU32("general.alignment", 4096)},
                      .tensors = {TensorInfo("t", {32}, 0, 0)},
                      .data_bytes = 128,
                      .alignment = 4096};
  const auto model = ReadOne(file.Build());
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->tensors()[0].offset_bytes, 4096);
  EXPECT_EQ((*model)->tensors()[0].size_bytes, 128);
}

TEST(GgufHeaderOnly, NeedsNoData) {
  GgufFile file = TinyModel{}.File();
  file.data_bytes = 0;
  EXPECT_TRUE(absl::IsDataLoss(ReadOne(file.Build()).status()));
  EXPECT_TRUE(ReadOne(file.Build(), {.header_only = true}).ok());
}

// The keys of a part as the splitting tools write them.
GgufFile Part(uint16_t number, uint16_t count, int32_t tensors, const std::string& tensor) {
  return {.metadata = {KvU16("split.no", number), KvU16("split.count", count), KvI32("split.tensors.count", tensors)},
          .tensors = {TensorInfo(tensor, {32}, 0, 0)},
          .data_bytes = 128};
}

absl::StatusOr<std::unique_ptr<GgufModel>> ReadParts(const std::vector<GgufFile>& files) {
  std::vector<std::shared_ptr<const Store>> parts;
  for (size_t i = 0; i < files.size(); ++i) parts.push_back(MemoryStore("p" + std::to_string(i), files[i].Build()));
  return GgufModel::Read(parts);
}

TEST(GgufParts, ThreeFilesAreOneModel) {
  const auto model = ReadParts({Part(0, 3, 3, "a"), Part(1, 3, 3, "b"), Part(2, 3, 3, "c")});
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->tensors().size(), 3u);
  EXPECT_EQ((*model)->FindTensor("c")->part, 2);
  EXPECT_EQ((*model)->parts().size(), 3u);
}

TEST(GgufParts, LyingSetsAreRefused) {
  struct Case {
    std::vector<GgufFile> parts;
    std::string message;
  };
  GgufFile without_count = Part(1, 2, 2, "b");
  without_count.metadata.erase(without_count.metadata.begin() + 1);
  const std::vector<Case> cases = {
      {{Part(0, 2, 2, "a")}, "p0: split.count is 2, but 1 part is given"},
      {{Part(0, 3, 2, "a"), Part(1, 3, 2, "b")}, "p0: split.count is 3, but 2 parts are given"},
      {{Part(0, 2, 2, "a"), without_count}, "p1: split.count is missing, but the file is one of 2 parts"},
      {{Part(0, 2, 2, "a"), Part(0, 2, 2, "b")}, "p1: split.no is 0, but the file stands at place 1 of 2"},
      {{Part(0, 2, 2, "a"), Part(1, 2, 2, "a")}, "p1: tensor \"a\" at byte"},
      {{Part(0, 2, 5, "a"), Part(1, 2, 5, "b")}, "p0: split.tensors.count is 5, but the 2 parts hold 2 tensors"},
      {{}, "at least one file"},
  };
  for (const Case& c : cases) {
    const auto model = ReadParts(c.parts);
    ASSERT_FALSE(model.ok()) << c.message;
    EXPECT_TRUE(absl::IsInvalidArgument(model.status()));
    EXPECT_THAT(std::string(model.status().message()), HasSubstr(c.message));
  }
}

TEST(GgufParts, AnyPartOpensTheSet) {
  const fs::path folder = fs::path(testing::TempDir()) / "barn_gguf_parts";
  fs::create_directories(folder);
  const auto name = [&](int part) { return (folder / ("m-0000" + std::to_string(part) + "-of-00002.gguf")).string(); };
  std::ofstream(name(1), std::ios::binary) << Part(0, 2, 2, "a").Build();
  std::ofstream(name(2), std::ios::binary) << Part(1, 2, 2, "b").Build();
  for (const int part : {1, 2}) {
    const auto model = GgufModel::Open(name(part));
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_EQ((*model)->parts()[0]->Name(), name(1));
    EXPECT_EQ((*model)->tensors().size(), 2u);
  }
  fs::remove(name(2));
  const auto broken = GgufModel::Open(name(1));
  EXPECT_TRUE(absl::IsNotFound(broken.status())) << broken.status();
  EXPECT_THAT(std::string(broken.status().message()), HasSubstr("m-00002-of-00002.gguf"));
  fs::remove_all(folder);
}

TEST(PartReferences, Names) {
  EXPECT_THAT(*PartReferences("dir/x.gguf"), ElementsAre("dir/x.gguf"));
  EXPECT_THAT(*PartReferences("x-00001-of-00001.gguf"), ElementsAre("x-00001-of-00001.gguf"));
  EXPECT_THAT(*PartReferences("x-00002-of-00003.gguf"),
              ElementsAre("x-00001-of-00003.gguf", "x-00002-of-00003.gguf", "x-00003-of-00003.gguf"));
  EXPECT_THAT(
      *PartReferences("http://h/x-00002-of-00002.gguf?download=true"),
      ElementsAre("http://h/x-00001-of-00002.gguf?download=true", "http://h/x-00002-of-00002.gguf?download=true"));
  EXPECT_THAT(*PartReferences("x-0002-of-00003.gguf"), ElementsAre("x-0002-of-00003.gguf"));
  EXPECT_THAT(*PartReferences("x-0000a-of-00003.gguf"), ElementsAre("x-0000a-of-00003.gguf"));
  for (const char* bad :
       {"x-00000-of-00003.gguf", "x-00004-of-00003.gguf", "x-00001-of-00000.gguf", "x-00001-of-99999.gguf"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(PartReferences(bad).status())) << bad;
  }
}

}  // namespace
}  // namespace barn
