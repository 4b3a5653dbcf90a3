#include "coordinator/cli/progress_bar.h"

#include <gtest/gtest.h>

namespace barn {
namespace {

TEST(ProgressBar, SumsOverWorkers) {
  EngineState state;
  state.reason = "waiting for 2 workers";
  EXPECT_EQ(LoadLine(state), "waiting for 2 workers");
  state.workers.resize(2);
  state.workers[0].load_bytes_done = int64_t{1} << 30;
  state.workers[0].load_bytes_total = int64_t{2} << 30;
  state.workers[0].load_bytes_per_second = 512 << 20;
  EXPECT_EQ(LoadLine(state), "loading [############            ]  50 %  1.00 GiB of 2.00 GiB  512 MiB/s  2 s left");
  state.workers[1].load_bytes_done = int64_t{2} << 30;
  state.workers[1].load_bytes_total = int64_t{2} << 30;
  state.workers[1].load_bytes_per_second = 9e9;
  state.workers[1].loaded = true;  // Its last rate says nothing about what is left.
  EXPECT_EQ(LoadLine(state), "loading [##################      ]  75 %  3.00 GiB of 4.00 GiB  512 MiB/s  2 s left");
}

}  // namespace
}  // namespace barn
