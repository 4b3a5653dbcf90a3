#include "coordinator/models/model_names.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

namespace barn {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const absl::Time kNow = absl::UnixEpoch() + absl::Hours(1000);

class ModelNamesTest : public ::testing::Test {
 protected:
  ModelNamesTest() {
    std::string path = (fs::temp_directory_path() / "barn-names-XXXXXX").string();
    base_ = mkdtemp(path.data());
    folder_ = base_ / "models";
    fs::create_directory(folder_);
  }
  ~ModelNamesTest() override { fs::remove_all(base_); }

  void File(const fs::path& path, size_t bytes = 10) {
    fs::create_directories((folder_ / path).parent_path());
    std::ofstream(folder_ / path) << std::string(bytes, 'x');
  }
  ModelNames Open(std::map<std::string, NamedModel> configured = {}) {
    auto names = ModelNames::Open(std::move(configured), folder_.string());
    EXPECT_TRUE(names.ok()) << names.status();
    return *std::move(names);
  }
  static std::vector<std::string> Listed(const ModelNames& names) {
    std::vector<std::string> all;
    for (const auto& [name, model] : names.all()) all.push_back(name);
    return all;
  }

  fs::path base_, folder_;
};

TEST_F(ModelNamesTest, FilesOfTheFolderHaveTheirNames) {
  File("b.gguf");
  File("a.GGUF");
  File("notes.txt");
  File(".hidden.gguf");
  File("split-00001-of-00002.gguf", 7);
  File("split-00002-of-00002.gguf", 8);
  File("one/weights.gguf");
  File("two/x.gguf");
  File("two/y.gguf");
  File("b c.gguf");  // No name.
  const ModelNames names = Open();
  EXPECT_THAT(Listed(names), ElementsAre("a", "b", "one", "split", "two/x", "two/y"));
  EXPECT_EQ(names.all().at("split").size_bytes, 15);
  EXPECT_EQ(names.all().at("one").location, fs::canonical(folder_ / "one/weights.gguf").string());
}

TEST_F(ModelNamesTest, TheFolderIsLookedAtAgain) {
  File("a.gguf");
  File("b.gguf");
  ModelNames names = Open({{"c", {.location = "https://host/c.gguf"}}});
  fs::remove(folder_ / "a.gguf");
  File("d.gguf");
  EXPECT_THAT(names.Scan(), ElementsAre("a"));
  EXPECT_THAT(Listed(names), ElementsAre("b", "c", "d"));
}

TEST_F(ModelNamesTest, LatestIsNoPartOfAName) {
  File("a.gguf");
  const ModelNames names = Open();
  EXPECT_EQ(names.Find("a:latest"), "a");
  EXPECT_EQ(names.Find("a"), "a");
  EXPECT_EQ(names.Find("a:other"), "");
  EXPECT_EQ(names.Find(":latest"), "");
}

TEST_F(ModelNamesTest, AddedNamesAreKept) {
  File("a.gguf");
  File("sub/deep.gguf");
  ModelNames names = Open();
  EXPECT_TRUE(names.Add("second", "a", kNow).ok());
  EXPECT_TRUE(names.Add("third", "second:latest", kNow).ok());
  EXPECT_TRUE(names.Add("remote", "https://host/m.gguf?x=1", kNow).ok());
  EXPECT_TRUE(names.Add("own", "sub/deep.gguf", kNow).ok());
  EXPECT_TRUE(names.Add("own", "sub/deep.gguf", kNow).ok());  // It is so already.
  for (const ModelNames& again : {names, Open()}) {
    EXPECT_EQ(again.Root("second"), "a");
    EXPECT_EQ(again.Root("third"), "a");
    EXPECT_EQ(again.all().at("remote").location, "https://host/m.gguf?x=1");
    EXPECT_EQ(again.all().at("own").location, fs::canonical(folder_ / "sub/deep.gguf").string());
    EXPECT_EQ(again.all().at("own").created, 3600 * 1000);
  }
}

TEST_F(ModelNamesTest, NothingOutsideOfTheFolderIsNamed) {
  std::ofstream(base_ / "secret.gguf") << "x";
  File("a.gguf");
  fs::create_symlink(base_ / "secret.gguf", folder_ / "link.txt");
  ModelNames names = Open();
  for (const std::string from : {"../secret.gguf", (base_ / "secret.gguf").string().c_str(), "link.txt", "/etc/passwd",
                                 "", ".", "nothing.gguf"}) {
    EXPECT_TRUE(absl::IsNotFound(names.Add("new", from, kNow))) << from;
  }
  for (const std::string name : {"", "/a", ".a", "a b", "a\n", "..", "ü"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(names.Add(name, "a", kNow))) << name;
  }
  EXPECT_TRUE(absl::IsInvalidArgument(names.Add(std::string(257, 'a'), "a", kNow)));
  EXPECT_THAT(Listed(names), ElementsAre("a"));
}

TEST_F(ModelNamesTest, ANameIsTakenOnce) {
  File("a.gguf");
  File("b.gguf");
  ModelNames names = Open();
  EXPECT_TRUE(absl::IsAlreadyExists(names.Add("b", "a", kNow)));
  EXPECT_TRUE(names.Add("a", "a", kNow).ok());
}

TEST_F(ModelNamesTest, WhatMayBeTakenAway) {
  File("a.gguf");
  File("split-00001-of-00002.gguf");
  File("split-00002-of-00002.gguf");
  File("split-other.gguf");
  ModelNames names = Open({{"given", {.location = (folder_ / "a.gguf").string()}}});
  EXPECT_TRUE(names.Add("second", "a", kNow).ok());
  EXPECT_TRUE(absl::IsNotFound(names.Remove("nothing")));
  EXPECT_TRUE(absl::IsPermissionDenied(names.Remove("given")));
  const absl::Status used = names.Remove("a");
  EXPECT_TRUE(absl::IsPermissionDenied(used));
  EXPECT_THAT(std::string(used.message()), HasSubstr("'second'"));
  EXPECT_TRUE(names.Remove("second:latest").ok());
  EXPECT_TRUE(fs::exists(folder_ / "a.gguf"));
  EXPECT_TRUE(names.Remove("a").ok());
  EXPECT_FALSE(fs::exists(folder_ / "a.gguf"));
  EXPECT_TRUE(names.Remove("split").ok());
  EXPECT_FALSE(fs::exists(folder_ / "split-00002-of-00002.gguf"));
  EXPECT_THAT(Listed(Open()), ElementsAre("split-other"));
}

TEST_F(ModelNamesTest, WithoutAFolder) {
  auto names = ModelNames::Open({{"a", {.location = "a.gguf"}}}, "");
  ASSERT_TRUE(names.ok());
  EXPECT_TRUE(names->Add("b", "a", kNow).ok());
  EXPECT_TRUE(absl::IsNotFound(names->Add("c", "/etc/passwd", kNow)));
  EXPECT_THAT(Listed(*names), ElementsAre("a", "b"));
}

TEST_F(ModelNamesTest, WhatMakesNoSenseIsSaid) {
  EXPECT_TRUE(absl::IsNotFound(ModelNames::Open({}, (base_ / "nowhere").string()).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(ModelNames::Open({{"a b", {.location = "x"}}}, "").status()));
  EXPECT_TRUE(
      absl::IsNotFound(ModelNames::Open({{"a", {.location = "x"}}}, "", {.location = ""}, {"a", "missing"}).status()));
  for (const char* text : {"", "[", "[]", "{\"a\": 1}", "{\"a\": {\"location\": 1}}", "{\"../a\": {}}"}) {
    std::ofstream(folder_ / ".barn-models.json") << text;
    EXPECT_TRUE(absl::IsDataLoss(ModelNames::Open({}, folder_.string()).status())) << text;
  }
}

}  // namespace
}  // namespace barn
