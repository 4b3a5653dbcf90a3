#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <vector>

#include "kernels/cuda/runtime.h"

namespace barn {

// Values on the device, copied there and back on demand; bytes 0xff (NaN, -1) until somebody writes them.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t count) : count_(count) {
    const auto memory = gpu::AllocateDevice(count * sizeof(T));
    EXPECT_TRUE(memory.ok()) << memory.status();
    data_ = static_cast<T*>(*memory);
    const std::vector<unsigned char> unwritten(count * sizeof(T), 0xff);
    EXPECT_TRUE(gpu::Upload(data_, unwritten.data(), unwritten.size()).ok());
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

// A stream of its own.
class TestStream {
 public:
  TestStream() : stream_(*gpu::CreateStream()) {}
  ~TestStream() { gpu::DestroyStream(stream_); }
  gpu::Stream get() const { return stream_; }
  void Wait() const { EXPECT_TRUE(gpu::Synchronize(stream_).ok()); }

 private:
  gpu::Stream stream_;
};

}  // namespace barn
