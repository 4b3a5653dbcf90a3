#include "kernels/cuda/graph_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "kernels/cuda/elementwise.h"
#include "tests/kernels/cuda/device_array.h"
#include "tests/kernels/cuda/on_gpu.h"

namespace barn {
namespace {

INSTANTIATE_TEST_SUITE_P(Schedules, OnGpu, testing::Values(0, 1, 2));

constexpr int64_t kFloats = 100;

// y = what the host has in pinned memory, then `times` times x += scale * y.
class Steps {
 public:
  Steps() : x_(std::vector<float>(kFloats, 1)), y_(kFloats), pinned_(*gpu::AllocatePinned(kFloats * sizeof(float))) {}
  ~Steps() { gpu::FreePinned(pinned_); }

  void Run(float y, float scale, int times) {
    std::fill_n(static_cast<float*>(pinned_), kFloats, y);
    gpu::CopyToDevice(y_.data(), pinned_, kFloats * sizeof(float), stream_.get());
    for (int i = 0; i < times; ++i) {
      gpu::AddScaled(Rows(x_), Rows(y_), scale, stream_.get());
      want_ += scale * y;
    }
    EXPECT_EQ(log_.size(), times + 1);
    ASSERT_TRUE(cache_.Start(log_).ok());
    EXPECT_EQ(log_.size(), 0);
    stream_.Wait();
    for (const float value : x_.Values()) ASSERT_FLOAT_EQ(value, want_);
  }
  int64_t graphs() const { return cache_.starts(); }

 private:
  static gpu::Rows Rows(const DeviceArray<float>& array) {
    return {.data = array.data(), .rows = 1, .cols = kFloats, .stride = kFloats};
  }

  const TestStream stream_;
  gpu::WorkLog log_{stream_.get()};
  GraphCache cache_{stream_.get()};
  DeviceArray<float> x_, y_;
  void* pinned_;
  float want_ = 1;
};

TEST_P(OnGpu, WorkThatComesAgainIsAGraphOverWhatTheHostHasNow) {
  Steps steps;
  ASSERT_NO_FATAL_FAILURE(steps.Run(1, 0.5f, 10));
  EXPECT_EQ(steps.graphs(), 0);
  ASSERT_NO_FATAL_FAILURE(steps.Run(2, 0.5f, 10));
  ASSERT_NO_FATAL_FAILURE(steps.Run(-3, 0.5f, 10));
  EXPECT_EQ(steps.graphs(), 2);
  // Another argument, and another number of kernels, are other work.
  ASSERT_NO_FATAL_FAILURE(steps.Run(1, 0.25f, 10));
  ASSERT_NO_FATAL_FAILURE(steps.Run(1, 0.5f, 11));
  EXPECT_EQ(steps.graphs(), 2);
  ASSERT_NO_FATAL_FAILURE(steps.Run(5, 0.25f, 10));
  ASSERT_NO_FATAL_FAILURE(steps.Run(7, 0.5f, 10));
  EXPECT_EQ(steps.graphs(), 4);
}

TEST_P(OnGpu, LittleWorkIsStartedAtOnce) {
  Steps steps;
  for (int i = 0; i < 4; ++i) ASSERT_NO_FATAL_FAILURE(steps.Run(1, 0.5f, 3));
  EXPECT_EQ(steps.graphs(), 0);
}

// More kinds of work than are kept, one after the other; then one of them again and again.
TEST_P(OnGpu, ForgetsOldWorkWhenThereIsMuch) {
  Steps steps;
  for (int i = 0; i < 200; ++i) ASSERT_NO_FATAL_FAILURE(steps.Run(1, static_cast<float>(i % 150) / 1024, 8));
  EXPECT_EQ(steps.graphs(), 0);
  for (int i = 0; i < 3; ++i) ASSERT_NO_FATAL_FAILURE(steps.Run(1, 2, 8));
  EXPECT_EQ(steps.graphs(), 2);
}

}  // namespace
}  // namespace barn
