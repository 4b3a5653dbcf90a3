#pragma once

#include <cstring>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/gpu.h"
#include "kernels/cuda/runtime.h"
#include "tests/kernels/cuda/device_array.h"

namespace barn {

// The schedules that every kernel is tested in.
inline std::vector<simt::Options> AllSchedules() {
  return {{.schedule = simt::Schedule::kForward},
          {.schedule = simt::Schedule::kReverse},
          {.schedule = simt::Schedule::kRandom, .seed = 7, .os_threads = 2}};
}

// Launches one kernel and waits for it.
template <class... Params, class... Args>
void RunKernel(void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes, Args... args) {
  const TestStream stream;
  gpu::Launch(kernel, grid, block, shared_bytes, stream.get(), args...);
  stream.Wait();
}

}  // namespace barn
