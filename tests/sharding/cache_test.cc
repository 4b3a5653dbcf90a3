#include "sharding/store/cache.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "sharding/store/sha256.h"

namespace barn {
namespace {

namespace fs = std::filesystem;

class CacheTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "barn-cache-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { fs::remove_all(directory_); }

  std::unique_ptr<Cache> Open(int64_t bytes_max = 1 << 20) {
    auto cache = Cache::Open({.directory = directory_, .bytes_max = bytes_max});
    EXPECT_TRUE(cache.ok()) << cache.status();
    return *std::move(cache);
  }
  static CacheKey Key(int64_t offset, int64_t size) {
    return {.identity = "http://host/m|\"v1\"", .part = 0, .offset_bytes = offset, .size_bytes = size};
  }
  static absl::StatusOr<std::unique_ptr<ByteRange>> Put(Cache& cache, const CacheKey& key, char fill) {
    auto writer = cache.Begin(key);
    if (!writer.ok()) {
      return writer.status();
    }
    std::memset((*writer)->bytes().data(), fill, (*writer)->bytes().size());
    return (*writer)->Commit();
  }
  static size_t Files(const std::string& folder) {
    return std::distance(fs::directory_iterator(folder), fs::directory_iterator());
  }

  std::string directory_;
};

TEST(Sha256, KnownAnswers) {
  EXPECT_EQ(Sha256Hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST_F(CacheTest, WhatIsPutIsFoundByThisAndTheNextProcess) {
  {
    const auto cache = Open();
    EXPECT_TRUE(absl::IsNotFound(cache->Find(Key(0, 100)).status()));
    const auto put = Put(*cache, Key(0, 100), 'a');
    ASSERT_TRUE(put.ok()) << put.status();
    EXPECT_EQ((*put)->bytes().size(), 100u);
  }
  const auto cache = Open();
  const auto found = cache->Find(Key(0, 100));
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(static_cast<char>((*found)->bytes()[99]), 'a');
  // Every part of the key counts.
  EXPECT_TRUE(absl::IsNotFound(cache->Find(Key(1, 100)).status()));
  EXPECT_TRUE(absl::IsNotFound(cache->Find(Key(0, 99)).status()));
  CacheKey other = Key(0, 100);
  other.part = 1;
  EXPECT_TRUE(absl::IsNotFound(cache->Find(other).status()));
  other = Key(0, 100);
  other.identity = "http://host/m|\"v2\"";
  EXPECT_TRUE(absl::IsNotFound(cache->Find(other).status()));
}

TEST_F(CacheTest, BlobsAreNamedByTheirContentAndStoredOnce) {
  const auto cache = Open();
  ASSERT_TRUE(Put(*cache, Key(0, 100), 'a').ok());
  ASSERT_TRUE(Put(*cache, Key(500, 100), 'a').ok());
  EXPECT_EQ(Files(directory_ + "/blobs"), 1u);
  EXPECT_EQ(Files(directory_ + "/refs"), 2u);
  EXPECT_EQ(Files(directory_ + "/tmp"), 0u);
  EXPECT_TRUE(fs::exists(directory_ + "/blobs/" + Sha256Hex(std::string(100, 'a'))));
}

TEST_F(CacheTest, DamageIsNoticedAndForgotten) {
  const auto cache = Open();
  ASSERT_TRUE(Put(*cache, Key(0, 100), 'a').ok());
  const std::string blob = directory_ + "/blobs/" + Sha256Hex(std::string(100, 'a'));
  {
    std::fstream file(blob, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(50);
    file.put('b');
  }
  EXPECT_TRUE(absl::IsNotFound(cache->Find(Key(0, 100)).status()));
  EXPECT_FALSE(fs::exists(blob));
  ASSERT_TRUE(Put(*cache, Key(0, 100), 'a').ok());
  EXPECT_TRUE(cache->Find(Key(0, 100)).ok());
  fs::resize_file(blob, 7);
  EXPECT_TRUE(absl::IsNotFound(cache->Find(Key(0, 100)).status()));
}

TEST_F(CacheTest, ReferencesThatLieAreHarmless) {
  const auto cache = Open();
  ASSERT_TRUE(Put(*cache, Key(0, 100), 'a').ok());
  const fs::path ref = fs::directory_iterator(directory_ + "/refs")->path();
  for (const std::string& lie :
       {std::string("../../../etc/passwd"), std::string(64, '/'), std::string(64, 'f'), std::string()}) {
    std::ofstream(ref, std::ios::trunc) << lie;
    EXPECT_TRUE(absl::IsNotFound(cache->Find(Key(0, 100)).status())) << lie;
  }
}

TEST_F(CacheTest, TheLeastRecentlyUsedGoesFirst) {
  const auto cache = Open(300);
  for (const auto& [offset, fill] : {std::pair(0, 'a'), {1, 'b'}, {2, 'c'}}) {
    ASSERT_TRUE(Put(*cache, Key(offset, 100), fill).ok());
    absl::SleepFor(absl::Milliseconds(20));
  }
  ASSERT_TRUE(cache->Find(Key(0, 100)).ok());  // Now the youngest.
  absl::SleepFor(absl::Milliseconds(20));
  ASSERT_TRUE(Put(*cache, Key(3, 100), 'd').ok());
  EXPECT_TRUE(cache->Find(Key(0, 100)).ok());
  EXPECT_TRUE(absl::IsNotFound(cache->Find(Key(1, 100)).status()));
  EXPECT_TRUE(cache->Find(Key(2, 100)).ok());
  EXPECT_TRUE(cache->Find(Key(3, 100)).ok());
}

TEST_F(CacheTest, WhatIsInUseStays) {
  const auto cache = Open(250);
  auto first = *Put(*cache, Key(0, 100), 'a');
  auto second = *Put(*cache, Key(1, 100), 'b');
  const auto refused = Put(*cache, Key(2, 100), 'c');
  EXPECT_TRUE(absl::IsResourceExhausted(refused.status())) << refused.status();
  EXPECT_NE(refused.status().message().find("200 of at most 250"), std::string::npos) << refused.status();
  second.reset();
  EXPECT_TRUE(Put(*cache, Key(2, 100), 'c').ok());
  EXPECT_TRUE(absl::IsNotFound(cache->Find(Key(1, 100)).status()));
  EXPECT_EQ(static_cast<char>(first->bytes()[0]), 'a');
}

TEST_F(CacheTest, AWriterThatGivesUpLeavesNothing) {
  const auto cache = Open(150);
  { ASSERT_TRUE(cache->Begin(Key(0, 100)).ok()); }
  EXPECT_EQ(Files(directory_ + "/tmp"), 0u);
  const auto busy = cache->Begin(Key(0, 100));
  ASSERT_TRUE(busy.ok());
  // What is being written counts.
  EXPECT_TRUE(absl::IsResourceExhausted(cache->Begin(Key(1, 100)).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(cache->Begin(Key(1, 0)).status()));
}

TEST_F(CacheTest, RemainsOfADeadProcessAreRemovedButNotThoseOfALivingOne) {
  const auto cache = Open();
  const auto busy = cache->Begin(Key(0, 100));
  ASSERT_TRUE(busy.ok());
  std::ofstream(directory_ + "/tmp/1-dead-0") << "half of a tensor";
  const auto second = Open();
  EXPECT_EQ(Files(directory_ + "/tmp"), 1u);
  EXPECT_TRUE((*busy)->Commit().ok());
}

TEST_F(CacheTest, ReferencesWithoutABlobAreSweptAtOpen) {
  {
    const auto cache = Open();
    ASSERT_TRUE(Put(*cache, Key(0, 100), 'a').ok());
  }
  fs::remove(directory_ + "/blobs/" + Sha256Hex(std::string(100, 'a')));
  Open();
  EXPECT_EQ(Files(directory_ + "/refs"), 0u);
}

TEST_F(CacheTest, ProcessesAndThreadsShareADirectory) {
  // Each child puts and finds the same ranges with little room, so that they evict each other's all the time.
  std::vector<pid_t> children;
  for (int child = 0; child < 3; ++child) {
    const pid_t pid = fork();
    if (pid == 0) {
      const auto cache = Cache::Open({.directory = directory_, .bytes_max = 40000});
      bool good = cache.ok();
      for (int i = 0; good && i < 100; ++i) {
        const int n = (i * 7 + child) % 12;
        auto range = (*cache)->Find(Key(n, 4096));
        if (absl::IsNotFound(range.status())) {
          range = Put(**cache, Key(n, 4096), static_cast<char>('a' + n));
        }
        good = range.ok() && (*range)->bytes().size() == 4096 && static_cast<char>((*range)->bytes()[4095]) == 'a' + n;
      }
      _exit(good ? 0 : 1);
    }
    children.push_back(pid);
  }
  for (const pid_t pid : children) {
    int status = 0;
    waitpid(pid, &status, 0);
    EXPECT_EQ(status, 0);
  }
  EXPECT_EQ(Files(directory_ + "/tmp"), 0u);
}

TEST_F(CacheTest, AnUnusableDirectoryIsSaid) {
  std::ofstream(directory_ + "/file") << "x";
  EXPECT_TRUE(absl::IsFailedPrecondition(Cache::Open({.directory = directory_ + "/file/below"}).status()));
}

}  // namespace
}  // namespace barn
