#pragma once

#include <gtest/gtest.h>

namespace barn {

// In which of three orders threads run that nothing orders (tests/simt/simt_schedules.cc). A GPU has its own
// (cuda_schedules.cc).
void UseSchedule(int index);

// A test that runs in every schedule.
class OnGpu : public testing::TestWithParam<int> {
 protected:
  void SetUp() override { UseSchedule(GetParam()); }
  void TearDown() override { UseSchedule(0); }
};

}  // namespace barn
