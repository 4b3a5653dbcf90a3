#include "worker/exchange/link.h"

#include <gtest/gtest.h>

namespace barn {
namespace {

TEST(Link, KnowsLoopback) {
  for (const char* address : {"127.0.0.1:7070", "localhost:1", "[::1]:80", "127.3.2.1:0"}) {
    EXPECT_TRUE(IsLoopbackAddress(address)) << address;
  }
  for (const char* address :
       {"0.0.0.0:7070", "10.0.0.1:1", "[::]:80", "127.evil.example:80", "localhost.evil:1", "", ":1"}) {
    EXPECT_FALSE(IsLoopbackAddress(address)) << address;
  }
}

TEST(Link, AnotherMachineNeedsAToken) {
  EXPECT_TRUE(CheckLink("dial", "127.0.0.1:1", "").ok());
  EXPECT_TRUE(CheckLink("dial", "10.0.0.1:1", "secret").ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(CheckLink("dial", "10.0.0.1:1", "")));
  EXPECT_TRUE(absl::IsFailedPrecondition(CheckLink("listen on", "0.0.0.0:0", "")));
}

TEST(Link, TokensThatMetadataCannotCarryAreRefused) {
  EXPECT_TRUE(absl::IsInvalidArgument(CheckLink("dial", "127.0.0.1:1", "two words")));
  EXPECT_TRUE(absl::IsInvalidArgument(CheckLink("dial", "127.0.0.1:1", "line\n")));
  EXPECT_TRUE(absl::IsInvalidArgument(CheckLink("dial", "127.0.0.1:1", "\xc3\xa4")));
}

TEST(Link, FindsItsOwnAddressTowardsLoopback) { EXPECT_EQ(LocalHostTowards("127.0.0.1:7070"), "127.0.0.1"); }

}  // namespace
}  // namespace barn
