#include "coordinator/accounts/access_gate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "absl/time/clock.h"
#include "tests/coordinator/accounts/temporary_folder.h"

namespace barn {
namespace {

using ::testing::HasSubstr;
using Why = Refusal::Why;

class AccessGateTest : public ::testing::Test {
 protected:
  AccessGateTest() : store_(*KeyStore::Open(folder_.File("keys.db"))) {}

  std::string Create(const std::string& name, Role role, const KeyLimits& limits = {}) {
    return *store_->Create(name, role, limits, "t", now_);
  }
  void Open() { gate_ = *AccessGate::Create(*KeyStore::Open(folder_.File("keys.db")), now_, absl::ZeroDuration()); }
  // Null when it is refused; then refusal_ says why.
  std::shared_ptr<const Account> Admit(const std::string& secret, Access access) {
    auto verdict = gate_->Admit(secret, access, "10.0.0.1", now_);
    if (std::holds_alternative<Refusal>(verdict)) {
      refusal_ = std::get<Refusal>(verdict);
      return nullptr;
    }
    return std::get<0>(verdict);
  }
  bool Passes(const std::string& secret, Access access) {
    return std::holds_alternative<std::shared_ptr<const Account>>(gate_->Admit(secret, access, "10.0.0.1", now_));
  }
  void Charge(const Account& account, int64_t prompt, int64_t generated) {
    UsageRow used;
    used.prompt_tokens = prompt;
    used.generated_tokens = generated;
    used.requests = 1;
    gate_->Charge(account, "m", used, now_);
  }

  const TemporaryFolder folder_;
  absl::Time now_ = absl::Now();
  std::unique_ptr<KeyStore> store_;  // As a command would use it.
  std::unique_ptr<AccessGate> gate_;
  Refusal refusal_;
};

TEST_F(AccessGateTest, RolesMayDoWhatTheyMay) {
  const std::string user = Create("u", Role::kUser), admin = Create("a", Role::kAdmin),
                    metrics = Create("m", Role::kMetrics);
  Open();
  struct Case {
    std::string secret;
    bool generate, read, metrics;
  };
  for (const Case& c : {Case{user, true, true, false}, Case{admin, true, true, true}, Case{metrics, false, false, true},
                        Case{"", false, false, false}, Case{"barn-wrong", false, false, false}}) {
    EXPECT_TRUE(Passes(c.secret, Access::kPublic));
    EXPECT_EQ(Passes(c.secret, Access::kGenerate), c.generate) << c.secret;
    EXPECT_EQ(Passes(c.secret, Access::kRead), c.read) << c.secret;
    EXPECT_EQ(Passes(c.secret, Access::kMetrics), c.metrics) << c.secret;
  }
  EXPECT_EQ(Admit("", Access::kRead), nullptr);
  EXPECT_EQ(refusal_.why, Why::kNoKey);
  EXPECT_EQ(Admit(user + "x", Access::kRead), nullptr);
  EXPECT_EQ(refusal_.why, Why::kUnknownKey);
  EXPECT_EQ(Admit(user, Access::kMetrics), nullptr);
  EXPECT_EQ(refusal_.why, Why::kForbidden);
  EXPECT_THAT(refusal_.message, HasSubstr("'u' has the role user"));
}

TEST_F(AccessGateTest, ARateIsABucket) {
  const std::string secret = Create("ana", Role::kUser, {.rate = *ReadRate("6/min")});
  Open();
  for (int i = 0; i < 6; ++i) EXPECT_TRUE(Passes(secret, Access::kGenerate)) << i;
  EXPECT_EQ(Admit(secret, Access::kGenerate), nullptr);
  EXPECT_EQ(refusal_.why, Why::kRate);
  EXPECT_EQ(refusal_.retry_after_s, 10);
  EXPECT_TRUE(Passes(secret, Access::kRead)) << "only generating counts";
  now_ += absl::Seconds(9);
  EXPECT_EQ(Admit(secret, Access::kGenerate), nullptr);
  EXPECT_EQ(refusal_.retry_after_s, 1);
  now_ += absl::Seconds(1);
  EXPECT_TRUE(Passes(secret, Access::kGenerate));
  EXPECT_FALSE(Passes(secret, Access::kGenerate));
  now_ += absl::Hours(5);
  int passed = 0;
  while (Passes(secret, Access::kGenerate)) ++passed;
  EXPECT_EQ(passed, 6) << "rest does not add up beyond the rate";
}

TEST_F(AccessGateTest, AQuotaEndsWithTheDay) {
  const std::string secret = Create("ana", Role::kUser, {.tokens_per_day = 100});
  now_ = absl::FromUnixSeconds(86400 * 20000 + 3600);
  Open();
  const auto account = Admit(secret, Access::kGenerate);
  ASSERT_NE(account, nullptr);
  Charge(*account, 60, 39);
  EXPECT_TRUE(Passes(secret, Access::kGenerate)) << "99 of 100";
  Charge(*account, 0, 500);
  EXPECT_EQ(Admit(secret, Access::kGenerate), nullptr);
  EXPECT_EQ(refusal_.why, Why::kQuota);
  EXPECT_EQ(refusal_.retry_after_s, 23 * 3600);
  EXPECT_THAT(refusal_.message, HasSubstr("used 599 tokens today, 100 are its daily quota"));
  // A restart forgets nothing.
  ASSERT_TRUE(gate_->Maintain(now_).ok());
  Open();
  EXPECT_FALSE(Passes(secret, Access::kGenerate));
  now_ += absl::Hours(23);
  EXPECT_TRUE(Passes(secret, Access::kGenerate));
}

TEST_F(AccessGateTest, KeysComeAndGoWhileItRuns) {
  Open();
  const std::string secret = Create("ana", Role::kUser);
  EXPECT_FALSE(Passes(secret, Access::kRead));
  ASSERT_TRUE(gate_->Maintain(now_).ok());
  const auto account = Admit(secret, Access::kGenerate);
  ASSERT_NE(account, nullptr);
  ASSERT_TRUE(store_->Revoke("ana", "t", now_).ok());
  ASSERT_TRUE(gate_->Maintain(now_).ok());
  EXPECT_FALSE(Passes(secret, Access::kRead));
  Charge(*account, 3, 4);  // Its last answer still runs.
  ASSERT_TRUE(gate_->Maintain(now_).ok());
  EXPECT_EQ(store_->Usage(0)->at(0).generated_tokens, 4);
}

TEST_F(AccessGateTest, AUserSeesTheirOwnUsage) {
  const std::string ana = Create("ana", Role::kUser), bo = Create("bo", Role::kUser),
                    boss = Create("boss", Role::kAdmin);
  Open();
  Charge(*Admit(ana, Access::kGenerate), 1, 2);
  Charge(*Admit(bo, Access::kGenerate), 3, 4);
  const auto of_ana = *gate_->Usage(*Admit(ana, Access::kRead), 0);
  ASSERT_EQ(of_ana.size(), 1u);
  EXPECT_EQ(of_ana[0].key_name, "ana");
  EXPECT_EQ(of_ana[0].prompt_tokens, 1);
  EXPECT_EQ(gate_->Usage(*Admit(boss, Access::kRead), 0)->size(), 2u);
  EXPECT_EQ(gate_->Totals().size(), 3u);
  EXPECT_EQ(gate_->Totals()[1].name, "bo");
  EXPECT_EQ(gate_->Totals()[1].generated_tokens, 4);
}

TEST_F(AccessGateTest, RefusalsAreAuditedButDoNotFillTheDisk) {
  Open();
  for (int i = 0; i < 500; ++i) Admit("barn-guess", Access::kGenerate);
  ASSERT_TRUE(gate_->Maintain(now_).ok());
  const auto log = *store_->AuditLog(1000);
  EXPECT_EQ(log.size(), 21u);
  EXPECT_EQ(log[0].detail, "480 more");
  EXPECT_EQ(log[1].actor, "10.0.0.1");
  EXPECT_EQ(log[1].action, "refused");
}

TEST_F(AccessGateTest, WhatIsNotWrittenYetIsWrittenAtTheEnd) {
  const std::string secret = Create("ana", Role::kUser);
  Open();
  Charge(*Admit(secret, Access::kGenerate), 5, 6);
  gate_ = nullptr;
  EXPECT_EQ(store_->Usage(0)->at(0).generated_tokens, 6);
}

TEST_F(AccessGateTest, ManyThreadsLoseNothing) {
  const std::string secret = Create("ana", Role::kUser);
  gate_ = *AccessGate::Create(*KeyStore::Open(folder_.File("keys.db")), now_, absl::Milliseconds(5));
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) {
        auto verdict = gate_->Admit(secret, Access::kGenerate, "", now_);
        UsageRow used;
        used.generated_tokens = 1;
        gate_->Charge(*std::get<0>(verdict), "m", used, now_);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  gate_ = nullptr;
  EXPECT_EQ(store_->Usage(0)->at(0).generated_tokens, 2000);
}

}  // namespace
}  // namespace barn
