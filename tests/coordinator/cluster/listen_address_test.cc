#include "coordinator/cluster/listen_address.h"

#include <gtest/gtest.h>

namespace barn {
namespace {

TEST(ListenAddress, LoopbackNeedsNoToken) {
  for (const char* address : {"127.0.0.1:0", "127.9.9.9:7070", "localhost:1", "[::1]:65535", "unix:/tmp/barn.sock"}) {
    EXPECT_TRUE(CheckListenAddress(address, false).ok()) << address;
  }
}

TEST(ListenAddress, OtherAddressesNeedOne) {
  for (const char* address :
       {"0.0.0.0:7070", "[::]:7070", "192.168.1.5:7070", "box:7070", "localhost.evil.org:1", "127.evil.org:1"}) {
    EXPECT_EQ(CheckListenAddress(address, false).code(), absl::StatusCode::kFailedPrecondition) << address;
    EXPECT_TRUE(CheckListenAddress(address, true).ok()) << address;
  }
}

TEST(ListenAddress, NeedsHostAndPort) {
  for (const char* address :
       {"", "7070", ":7070", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "a:-1"}) {
    EXPECT_EQ(CheckListenAddress(address, true).code(), absl::StatusCode::kInvalidArgument) << address;
  }
}

}  // namespace
}  // namespace barn
