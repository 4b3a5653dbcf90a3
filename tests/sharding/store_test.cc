#include "sharding/store/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace barn {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

// 20 kB of different bytes: more than one page, not a whole number of pages.
std::string Pattern() {
  std::string text;
  for (int i = 0; i < 20'000; ++i) text += static_cast<char>(i * 31 + i / 256);
  return text;
}

class FileOnDisk : public ::testing::Test {
 protected:
  FileOnDisk() : folder_(fs::path(testing::TempDir()) / "barn_store_test") {
    fs::create_directories(folder_);
    Write(Pattern());
  }
  ~FileOnDisk() override { fs::remove_all(folder_); }

  void Write(const std::string& text) { std::ofstream(path(), std::ios::binary | std::ios::trunc) << text; }
  std::string path() const { return (folder_ / "bytes").string(); }

  const fs::path folder_;
};

// What holds for every store of these bytes.
void CheckStore(const Store& store, const std::string& text) {
  ASSERT_EQ(store.size_bytes(), static_cast<int64_t>(text.size()));
  for (const auto& [offset, length] : std::vector<std::pair<int64_t, int64_t>>{
           {0, 20'000}, {0, 0}, {20'000, 0}, {19'999, 1}, {4096, 4096}, {4095, 2}, {5000, 15'000}}) {
    std::string read(static_cast<size_t>(length), 'x');
    ASSERT_TRUE(store.Read(offset, std::as_writable_bytes(std::span(read))).ok());
    EXPECT_EQ(read, text.substr(static_cast<size_t>(offset), static_cast<size_t>(length)));
    const auto range = store.Map(offset, length);
    ASSERT_TRUE(range.ok()) << range.status();
    const auto bytes = (*range)->bytes();
    EXPECT_TRUE(std::ranges::equal(bytes, std::as_bytes(std::span(read)))) << offset;
  }
  for (const auto& [offset, length] :
       std::vector<std::pair<int64_t, int64_t>>{{20'001, 0}, {0, 20'001}, {19'999, 2}, {-1, 1}, {INT64_MAX, 2}}) {
    std::string read(static_cast<size_t>(length), 'x');
    const absl::Status status = store.Read(offset, std::as_writable_bytes(std::span(read)));
    EXPECT_TRUE(absl::IsOutOfRange(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(store.Name()));
    EXPECT_TRUE(absl::IsOutOfRange(store.Map(offset, length).status()));
  }
  EXPECT_TRUE(absl::IsOutOfRange(store.Map(0, -1).status()));
}

TEST_F(FileOnDisk, ReadsAndMaps) {
  const auto store = OpenStore(path());
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_EQ((*store)->Name(), path());
  CheckStore(**store, Pattern());
}

TEST(MemoryStore, ReadsAndMaps) {
  const auto store = MemoryStore("memory", Pattern());
  EXPECT_EQ(store->Name(), "memory");
  CheckStore(*store, Pattern());
}

TEST(MemoryStore, RangeOutlivesStore) {
  auto store = MemoryStore("memory", Pattern());
  const auto range = store->Map(100, 50);
  store.reset();
  const std::string expected = Pattern().substr(100, 50);
  EXPECT_TRUE(std::ranges::equal((*range)->bytes(), std::as_bytes(std::span(expected))));
}

TEST_F(FileOnDisk, IdentityFollowsTheBytes) {
  const auto identity = [&] { return (*OpenStore(path()))->Identity(); };
  const std::string before = identity();
  EXPECT_EQ(identity(), before);
  fs::last_write_time(path(), fs::last_write_time(path()) + std::chrono::seconds(1));
  const std::string touched = identity();
  EXPECT_NE(touched, before);
  Write("short");
  EXPECT_NE(identity(), touched);
  EXPECT_NE(MemoryStore("a", "x")->Identity(), MemoryStore("a", "y")->Identity());
}

TEST_F(FileOnDisk, ShrinkingIsAnError) {
  const auto store = OpenStore(path());
  ASSERT_TRUE(store.ok());
  fs::resize_file(path(), 100);
  std::string read(200, 'x');
  const absl::Status status = (*store)->Read(0, std::as_writable_bytes(std::span(read)));
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
}

TEST_F(FileOnDisk, OpenErrors) {
  EXPECT_TRUE(absl::IsNotFound(OpenStore(path() + "-absent").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(OpenStore(folder_.string()).status()));
  const std::string pipe = (folder_ / "pipe").string();
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_TRUE(absl::IsInvalidArgument(OpenStore(pipe).status()));  // And does not wait for a writer.
}

}  // namespace
}  // namespace barn
