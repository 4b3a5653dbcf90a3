#include "coordinator/cli/statistics.h"

#include <gtest/gtest.h>

#include <vector>

namespace barn {
namespace {

TEST(Statistics, MedianAndSpread) {
  const Summary odd = Summarize(std::vector<double>{3, 1, 2});
  EXPECT_EQ(odd.median, 2);
  EXPECT_EQ(odd.min, 1);
  EXPECT_EQ(odd.max, 3);
  EXPECT_EQ(Summarize(std::vector<double>{4, 1, 3, 2}).median, 2.5);
  EXPECT_EQ(Summarize(std::vector<double>{7}).median, 7);
}

}  // namespace
}  // namespace barn
