#include "coordinator/accounts/key_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "tests/coordinator/accounts/temporary_folder.h"

namespace barn {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);

UsageRow Used(int64_t key, const std::string& model, int64_t day, int64_t prompt, int64_t generated) {
  UsageRow row;
  row.key_id = key;
  row.model = model;
  row.day = day;
  row.prompt_tokens = prompt;
  row.generated_tokens = generated;
  row.requests = 1;
  return row;
}

TEST(KeyStore, KeepsKeysByTheirHashes) {
  const TemporaryFolder folder;
  const std::string path = folder.File("keys.db");
  std::string secret;
  {
    auto store = *KeyStore::Open(path);
    const KeyLimits limits{.tokens_per_day = 2'000'000, .rate = *ReadRate("60/min"), .priority = 2, .weight = 3};
    secret = *store->Create("ana", Role::kUser, limits, "tester", kNow);
    ASSERT_TRUE(store->Create("boss", Role::kAdmin, {}, "tester", kNow).ok());
  }
  auto store = *KeyStore::Open(path);
  const auto keys = *store->List();
  ASSERT_EQ(keys.size(), 2u);
  EXPECT_EQ(keys[0].name, "ana");
  EXPECT_EQ(keys[0].limits.tokens_per_day, 2'000'000);
  EXPECT_EQ(keys[0].limits.rate.count, 60);
  EXPECT_EQ(keys[0].limits.rate.period, absl::Minutes(1));
  EXPECT_EQ(keys[0].limits.priority, 2);
  EXPECT_EQ(keys[0].limits.weight, 3);
  EXPECT_EQ(keys[0].created, kNow);
  EXPECT_EQ(keys[1].role, Role::kAdmin);
  EXPECT_EQ(store->ByHash()->at(HashSecret(secret)).name, "ana");
  for (const char* file : {"keys.db", "keys.db-wal"}) {
    std::ifstream in(folder.File(file), std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(in), {}};
    EXPECT_THAT(bytes, Not(HasSubstr(secret))) << "the secret itself is nowhere";
  }
}

TEST(KeyStore, ANameIsInUseOnce) {
  const TemporaryFolder folder;
  auto store = *KeyStore::Open(folder.File("keys.db"));
  ASSERT_TRUE(store->Create("ana", Role::kUser, {}, "t", kNow).ok());
  EXPECT_EQ(std::string(store->Create("ana", Role::kUser, {}, "t", kNow).status().message()),
            "a key named 'ana' is in use");
  ASSERT_TRUE(store->Revoke("ana", "t", kNow).ok());
  EXPECT_TRUE(absl::IsNotFound(store->Revoke("ana", "t", kNow)));
  EXPECT_TRUE(store->ByHash()->empty());
  EXPECT_TRUE(store->Create("ana", Role::kUser, {}, "t", kNow).ok());
  EXPECT_EQ(store->List()->size(), 2u);
  EXPECT_TRUE(store->List()->at(0).revoked);
}

TEST(KeyStore, RefusesWhatIsNoKey) {
  const TemporaryFolder folder;
  auto store = *KeyStore::Open(folder.File("keys.db"));
  for (const std::string& name : {std::string(), std::string("a b"), std::string("a\"b"), std::string(65, 'x')}) {
    EXPECT_TRUE(absl::IsInvalidArgument(store->Create(name, Role::kUser, {}, "t", kNow).status())) << name;
  }
  EXPECT_FALSE(store->Create("a", Role::kUser, {.priority = 10}, "t", kNow).ok());
  EXPECT_FALSE(store->Create("a", Role::kUser, {.weight = 0}, "t", kNow).ok());
}

TEST(KeyStore, TheLedgerAddsUp) {
  const TemporaryFolder folder;
  auto store = *KeyStore::Open(folder.File("keys.db"));
  ASSERT_TRUE(store->Create("ana", Role::kUser, {}, "t", kNow).ok());
  ASSERT_TRUE(store->Create("bo", Role::kUser, {}, "t", kNow).ok());
  ASSERT_TRUE(
      store->AddUsage(std::vector{Used(1, "m", 10, 5, 7), Used(1, "m", 10, 1, 2), Used(2, "m", 10, 3, 3)}).ok());
  ASSERT_TRUE(store->AddUsage(std::vector{Used(1, "n", 11, 100, 200), Used(1, "m", 10, 10, 0)}).ok());
  const auto all = *store->Usage(0);
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].model, "n") << "the newest day first";
  EXPECT_EQ(all[1].key_name, "ana");
  EXPECT_EQ(all[1].prompt_tokens, 16);
  EXPECT_EQ(all[1].generated_tokens, 9);
  EXPECT_EQ(all[1].requests, 3);
  EXPECT_EQ(store->Usage(11)->size(), 1u);
  EXPECT_EQ(store->Usage(0, 2)->at(0).key_name, "bo");
  // All or nothing.
  EXPECT_FALSE(store->AddUsage(std::vector{Used(1, "m", 10, 1, 1), Used(99, "m", 10, 1, 1)}).ok());
  EXPECT_EQ(store->Usage(10, 1)->at(1).prompt_tokens, 16);
}

TEST(KeyStore, TheAuditLogTellsWhoDidWhat) {
  const TemporaryFolder folder;
  auto store = *KeyStore::Open(folder.File("keys.db"));
  ASSERT_TRUE(store->Create("ana", Role::kMetrics, {}, "uid 7 root", kNow).ok());
  ASSERT_TRUE(store->Revoke("ana", "uid 8 eve", kNow + absl::Seconds(1)).ok());
  const auto log = *store->AuditLog(10);
  ASSERT_EQ(log.size(), 2u);
  EXPECT_EQ(log[0].actor + " " + log[0].action + " " + log[0].detail, "uid 8 eve key revoke ana");
  EXPECT_EQ(log[1].actor + " " + log[1].action + " " + log[1].detail, "uid 7 root key create ana role metrics");
  EXPECT_EQ(log[1].at, kNow);
}

TEST(KeyStore, SeesWhatAnotherProcessWrites) {
  const TemporaryFolder folder;
  auto server = *KeyStore::Open(folder.File("keys.db"));
  auto command = *KeyStore::Open(folder.File("keys.db"));
  const int64_t before = *server->Version();
  EXPECT_EQ(*server->Version(), before);
  ASSERT_TRUE(command->Create("ana", Role::kUser, {}, "t", kNow).ok());
  EXPECT_NE(*server->Version(), before);
  EXPECT_EQ(server->ByHash()->size(), 1u);
}

TEST(KeyStore, DaysAreUtc) {
  EXPECT_EQ(DayText(DayOf(kNow)), "2027-01-15");
  EXPECT_EQ(DayOf(absl::FromUnixSeconds(86400 * 5 - 1)), 4);
}

}  // namespace
}  // namespace barn
