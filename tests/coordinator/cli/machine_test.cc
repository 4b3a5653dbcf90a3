#include "coordinator/cli/machine.h"

#include <gtest/gtest.h>

namespace barn {
namespace {

TEST(Machine, CpuModelIsTheFirstModelName) {
  EXPECT_EQ(
      CpuModel("processor\t: 0\nmodel\t\t: 17\nmodel name\t: AMD EPYC 9R14\nprocessor\t: 1\nmodel name\t: other\n"),
      "AMD EPYC 9R14");
  EXPECT_EQ(CpuModel("model name"), "");
  EXPECT_EQ(CpuModel("Processor : ARM\n"), "");
  EXPECT_EQ(CpuModel(""), "");
}

TEST(Machine, ThisOneHasMemoryAndASystem) {
  const Machine machine = DescribeMachine();
  EXPECT_GT(machine.memory_bytes, 1 << 20);
  EXPECT_TRUE(machine.system.starts_with("Linux ")) << machine.system;
  EXPECT_EQ(machine.governor.find('\n'), std::string::npos);
}

}  // namespace
}  // namespace barn
