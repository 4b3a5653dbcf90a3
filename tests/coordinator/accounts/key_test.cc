#include "coordinator/accounts/key.h"

#include <gtest/gtest.h>

#include <set>

#include "absl/strings/escaping.h"

namespace barn {
namespace {

TEST(Key, ReadsCounts) {
  EXPECT_EQ(*ReadCount("2M"), 2'000'000);
  EXPECT_EQ(*ReadCount("1.5k"), 1500);
  EXPECT_EQ(*ReadCount("3G"), 3'000'000'000);
  EXPECT_EQ(*ReadCount("0"), 0);
  for (const char* text : {"", "M", "-1", "2T", "2MM", "nan", "inf", "1e99", "2 M x"}) {
    EXPECT_FALSE(ReadCount(text).ok()) << text;
  }
}

TEST(Key, ReadsRates) {
  EXPECT_EQ(ReadRate("60/min")->count, 60);
  EXPECT_EQ(ReadRate("60/min")->period, absl::Minutes(1));
  EXPECT_EQ(ReadRate("5/s")->period, absl::Seconds(1));
  EXPECT_EQ(ReadRate("10k/day")->count, 10'000);
  EXPECT_EQ(RateText(*ReadRate("7/hour")), "7/h");
  EXPECT_EQ(RateText({}), "-");
  for (const char* text : {"", "60", "60/", "/min", "0/s", "-5/s", "5/week", "5/s/s"}) {
    EXPECT_FALSE(ReadRate(text).ok()) << text;
  }
}

TEST(Key, RolesHaveNames) {
  for (const Role role : {Role::kUser, Role::kAdmin, Role::kMetrics}) EXPECT_EQ(*ReadRole(RoleName(role)), role);
  EXPECT_FALSE(ReadRole("root").ok());
}

TEST(Key, SecretsAreLongAndNeverTheSame) {
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    const std::string secret = NewSecret();
    EXPECT_EQ(secret.size(), 5u + 43u);
    EXPECT_EQ(secret.substr(0, 5), "barn-");
    EXPECT_TRUE(seen.insert(secret).second);
  }
}

// SHA-256 of "abc" (FIPS 180-2, appendix B.1).
TEST(Key, HashesAreSha256) {
  EXPECT_EQ(absl::BytesToHexString(HashSecret("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

}  // namespace
}  // namespace barn
