#include "kernels/cpu/bandwidth.h"

#include <cmath>

#include "gtest/gtest.h"
#include "kernels/cpu/cores.h"

namespace barn {
namespace {

TEST(Bandwidth, AnyNumberOfThreadsGivesANumber) {
  for (const int threads : {1, CoreList().count(), CoreList().count() + 1}) {
    const absl::StatusOr<double> bytes_per_s = MeasureReadBandwidth(threads);
    ASSERT_TRUE(bytes_per_s.ok()) << bytes_per_s.status();
    EXPECT_GT(*bytes_per_s, 0);
    EXPECT_TRUE(std::isfinite(*bytes_per_s));
  }
}

TEST(Bandwidth, NoThreadsAreAnError) {
  for (const int threads : {0, -1}) {
    EXPECT_EQ(MeasureReadBandwidth(threads).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace barn
