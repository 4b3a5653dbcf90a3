#pragma once

#include <cstring>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/gpu.h"
#include "kernels/cuda/runtime.h"

namespace barn {

// The schedules that every kernel is tested in.
inline std::vector<simt::Options> AllSchedules() {
  return {{.schedule = simt::Schedule::kForward},
          {.schedule = simt::Schedule::kReverse},
          {.schedule = simt::Schedule::kRandom, .seed = 7, .os_threads = 2}};
}

// Values on the device, copied there and back on demand.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t count) : count_(count) {
    const auto memory = gpu::AllocateDevice(count * sizeof(T));
    EXPECT_TRUE(memory.ok()) << memory.status();
    data_ = static_cast<T*>(*memory);
  }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
    EXPECT_TRUE(gpu::Upload(data_, values.data(), count_ * sizeof(T)).ok());
  }
  ~DeviceArray() { gpu::FreeDevice(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* data() const { return data_; }
  size_t size() const { return count_; }
  std::vector<T> Values() const {
    std::vector<T> values(count_);
    EXPECT_TRUE(gpu::Download(values.data(), data_, count_ * sizeof(T)).ok());
    return values;
  }

 private:
  size_t count_;
  T* data_ = nullptr;
};

// A stream of its own, waited for at the end of each Run.
class TestStream {
 public:
  TestStream() : stream_(*gpu::CreateStream()) {}
  ~TestStream() { gpu::DestroyStream(stream_); }
  gpu::Stream get() const { return stream_; }
  void Wait() const { EXPECT_TRUE(gpu::Synchronize(stream_).ok()); }

 private:
  gpu::Stream stream_;
};

// Launches one kernel and waits for it.
template <class... Params, class... Args>
void RunKernel(void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes, Args... args) {
  const TestStream stream;
  gpu::Launch(kernel, grid, block, shared_bytes, stream.get(), args...);
  stream.Wait();
}

}  // namespace barn
