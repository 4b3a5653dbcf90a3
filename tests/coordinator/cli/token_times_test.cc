#include "coordinator/cli/token_times.h"

#include <gtest/gtest.h>

namespace barn {
namespace {

// Times at begin, begin + step, ... in milliseconds.
std::vector<absl::Time> Every(int begin_ms, int step_ms, int count) {
  std::vector<absl::Time> times;
  for (int i = 0; i < count; ++i) times.push_back(absl::UnixEpoch() + absl::Milliseconds(begin_ms + i * step_ms));
  return times;
}

double Rate(std::vector<std::vector<absl::Time>> streams) { return TogetherTokensPerSecond(streams, 1).value(); }

TEST(TokenTimes, OneStreamCountsFromItsFirstToken) { EXPECT_DOUBLE_EQ(Rate({Every(5000, 10, 11)}), 100); }

TEST(TokenTimes, WhatOneStreamGeneratesAloneDoesNotCount) {
  // The first stream is ten times faster until the second one starts at 1 s, and the second one goes on alone.
  std::vector<absl::Time> first = Every(0, 1, 1000);
  const std::vector<absl::Time> together = Every(1000, 20, 51), second = Every(1005, 10, 1000);
  first.insert(first.end(), together.begin(), together.end());
  EXPECT_NEAR(Rate({first, second}), 50 + 100, 1e-9);
}

TEST(TokenTimes, StreamsThatDidNotRunTogetherAreAnError) {
  for (const auto& streams : std::vector<std::vector<std::vector<absl::Time>>>{
           {Every(0, 1, 50), Every(100, 1, 50)}, {Every(0, 1, 50), {}}, {{}}, {Every(0, 1, 1)}}) {
    EXPECT_EQ(TogetherTokensPerSecond(streams, 1).status().code(), absl::StatusCode::kFailedPrecondition);
  }
  const std::vector<std::vector<absl::Time>> barely = {Every(0, 1, 50), Every(40, 1, 50)};
  EXPECT_TRUE(TogetherTokensPerSecond(barely, 9).ok());
  const absl::Status status = TogetherTokensPerSecond(barely, 10).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(status.message().find("of 2 streams one generated only 9 tokens"), std::string::npos) << status;
}

}  // namespace
}  // namespace barn
