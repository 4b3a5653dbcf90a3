#include "sharding/rank_link.h"

#include <gtest/gtest.h>

#include <string>

namespace barn {
namespace {

const std::string kId = std::string("\0id\nof 128 bytes\xff", 17);

TEST(RankLink, ComesBackAsItWas) {
  const RankLink gpu = {.transport = "NCCL 2.28.9", .device = "5f1c", .read_bytes_per_s = 936096e6, .address = kId};
  const RankLink back = ParseRankLink(FormatRankLink(gpu));
  EXPECT_EQ(back.transport, gpu.transport);
  EXPECT_EQ(back.missing, "");
  EXPECT_EQ(back.device, gpu.device);
  EXPECT_EQ(back.read_bytes_per_s, gpu.read_bytes_per_s);
  EXPECT_EQ(back.address, kId);
  const RankLink none = ParseRankLink(FormatRankLink({.missing = "no library\nthere", .device = "5f1c"}));
  EXPECT_EQ(none.transport, "");
  EXPECT_EQ(none.missing, "no library there");
  EXPECT_EQ(none.device, "5f1c");
}

TEST(RankLink, AnAddressOfUcxIsLeftAsItIs) {
  const RankLink link = {.transport = "UCX", .address = kId};
  EXPECT_EQ(FormatRankLink(link), kId);
  const RankLink back = ParseRankLink(kId);
  EXPECT_EQ(back.transport, "UCX");
  EXPECT_EQ(back.address, kId);
  EXPECT_EQ(back.missing, "");
}

TEST(RankLink, WhatSaysNothingIsNoRank) {
  EXPECT_NE(ParseRankLink("").missing, "");
  for (const std::string bytes : {"barn-rank 1\n", "barn-rank 1\n\n\n\n\n", "barn-rank 1\n\n\nsome gpu\nnan\nid"}) {
    const RankLink link = ParseRankLink(bytes);
    EXPECT_NE(link.missing, "") << bytes;
    EXPECT_EQ(link.read_bytes_per_s, 0);
  }
}

TEST(RankLink, IsBounded) {
  const std::string much(5000, 'x');
  const std::string bytes =
      FormatRankLink({.transport = much, .missing = much, .device = much, .read_bytes_per_s = 1, .address = much});
  EXPECT_EQ(bytes.size(), kRankAddressBytesMax);
  const RankLink link = ParseRankLink("barn-rank 1\n" + much + "\n" + much + "\n" + much + "\n-7\n");
  EXPECT_EQ(link.transport.size(), 200u);
  EXPECT_EQ(link.device.size(), 200u);
  EXPECT_EQ(link.read_bytes_per_s, 0);
}

}  // namespace
}  // namespace barn
