#include "proto/base/trust.h"

#include "gtest/gtest.h"

namespace barn {
namespace {

TEST(IsLoopbackHost, GoesByTheTextAlone) {
  for (const char* host : {"localhost", "127.0.0.1", "127.1.2.3", "::1", "[::1]"}) {
    EXPECT_TRUE(IsLoopbackHost(host)) << host;
  }
  for (const char* host : {"", "127.evil.org", "127", "0.0.0.0", "::", "localhost.evil.org", "10.0.0.1"}) {
    EXPECT_FALSE(IsLoopbackHost(host)) << host;
  }
}

TEST(EqualInConstantTime, ComparesWholeStrings) {
  EXPECT_TRUE(EqualInConstantTime("", ""));
  EXPECT_TRUE(EqualInConstantTime("secret", "secret"));
  for (const char* other : {"secreT", "secrets", "secre", ""}) {
    EXPECT_FALSE(EqualInConstantTime("secret", other)) << other;
    EXPECT_FALSE(EqualInConstantTime(other, "secret")) << other;
  }
}

}  // namespace
}  // namespace barn
