#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "tests/simt/simt_test_util.h"

// Streams, events, graphs and memory of the simulated device: what is waited for is right, and what is not waited for
// is wrong every time.
namespace barn {
namespace {

constexpr int kCount = 1000;

__global__ void AddOne(float* x, int count) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < count) gpu::St(x + i, gpu::Ld(x + i) + 1);
}

// Pinned floats.
struct Pinned {
  explicit Pinned(float value) : data(static_cast<float*>(*gpu::AllocatePinned(kCount * sizeof(float)))) {
    std::fill_n(data, kCount, value);
  }
  ~Pinned() { gpu::FreePinned(data); }
  float* data;
};

struct Fixture {
  TestStream a, b;
  DeviceArray<float> x{kCount};
  Pinned in{1}, out{-7};

  void CopyIn(const TestStream& s) { gpu::CopyToDevice(x.data(), in.data, kCount * sizeof(float), s.get()); }
  void Add(const TestStream& s) { gpu::Launch(AddOne, 8, 128, 0, s.get(), x.data(), kCount); }
  void CopyOut(const TestStream& s) { gpu::CopyToHost(out.data, x.data(), kCount * sizeof(float), s.get()); }
};

TEST(SimtRuntime, AStreamRunsInOrder) {
  Fixture f;
  f.CopyIn(f.a);
  f.Add(f.a);
  f.CopyOut(f.a);
  f.a.Wait();
  EXPECT_EQ(f.out.data[0], 2);
  EXPECT_EQ(f.out.data[kCount - 1], 2);
}

TEST(SimtRuntime, AnEventOrdersTwoStreamsAndWithoutItTheyAreNot) {
  for (const bool wait : {true, false}) {
    Fixture f;
    const gpu::Event event = *gpu::CreateEvent();
    f.CopyIn(f.a);
    gpu::Record(event, f.a.get());
    if (wait) gpu::WaitFor(f.b.get(), event);
    f.Add(f.b);
    f.CopyOut(f.b);
    f.b.Wait();
    EXPECT_EQ(f.out.data[kCount - 1] == 2, wait);
    f.a.Wait();
    gpu::DestroyEvent(event);
  }
}

TEST(SimtRuntime, AnEventIsDoneSomeTimeAfterItsWorkWasPut) {
  Fixture f;
  const gpu::Event event = *gpu::CreateEvent();
  EXPECT_TRUE(*gpu::IsDone(event));
  f.CopyIn(f.a);
  f.CopyOut(f.a);
  gpu::Record(event, f.a.get());
  EXPECT_FALSE(*gpu::IsDone(event));
  int polls = 1;
  while (!*gpu::IsDone(event)) ++polls;
  EXPECT_LT(polls, 10);
  EXPECT_EQ(f.out.data[5], 1);
  gpu::DestroyEvent(event);
}

TEST(SimtRuntime, AGraphRunsAsOftenAsItIsLaunched) {
  Fixture f;
  f.CopyIn(f.a);
  ASSERT_TRUE(gpu::BeginCapture(f.a.get()).ok());
  f.Add(f.a);
  f.Add(f.a);
  f.CopyOut(f.a);
  const gpu::Graph graph = *gpu::EndCapture(f.a.get());
  EXPECT_EQ(f.out.data[0], -7);  // Only captured: the host still owns it.
  for (int i = 1; i <= 3; ++i) {
    gpu::LaunchGraph(graph, f.a.get());
    f.a.Wait();
    EXPECT_EQ(f.out.data[0], 1.0f + 2.0f * static_cast<float>(i));
  }
  gpu::DestroyGraph(graph);
}

TEST(SimtRuntime, FillAndCopyOnDevice) {
  Fixture f;
  const DeviceArray<float> y(kCount);
  gpu::FillBytes(f.x.data(), 0, kCount * sizeof(float), f.a.get());
  f.Add(f.a);
  gpu::CopyOnDevice(y.data(), f.x.data(), kCount * sizeof(float), f.a.get());
  f.a.Wait();
  EXPECT_EQ(y.Values()[7], 1);
}

TEST(SimtRuntime, MemoryHasAnEndAndIsGivenBack) {
  simt::SetMachine({.devices = 2, .memory_bytes = 1 << 20});
  void* most = *gpu::AllocateDevice(1000 << 10);
  const auto more = gpu::AllocateDevice(25 << 10);
  EXPECT_EQ(more.status().message(), "device 0: 25600 bytes wanted, 24576 of 1048576 are free");
  ASSERT_TRUE(gpu::UseDevice(1).ok());
  void* elsewhere = *gpu::AllocateDevice(1000 << 10);
  ASSERT_TRUE(gpu::UseDevice(0).ok());
  gpu::FreeDevice(elsewhere);
  gpu::FreeDevice(most);
  void* again = *gpu::AllocateDevice(1 << 20);
  gpu::FreeDevice(again);
  EXPECT_EQ(gpu::UseDevice(2).message(), "device 2: this machine has 2");
  EXPECT_EQ(gpu::ListDevices()->size(), 2u);
  simt::SetMachine({});
}

float HostReads(const float* p) { return *static_cast<const volatile float*>(p); }

TEST(SimtRuntimeDeathTest, TheHostMayNotTouchDeviceMemory) {
  const DeviceArray<float> x(kCount);
  EXPECT_DEATH(HostReads(x.data() + 3), "the host touches device memory .byte 12 of an allocation of 4000.");
  EXPECT_DEATH(x.data()[4] = 1, "the host touches device memory");
  const TestStream stream;
  gpu::Launch(AddOne, 8, 128, 0, stream.get(), x.data(), kCount);
  stream.Wait();  // A kernel that ran has not left the door open.
  EXPECT_DEATH(HostReads(x.data()), "the host touches device memory");
}

TEST(SimtRuntimeDeathTest, ACopyThatWasNotWaitedForOwnsItsMemory) {
  const auto read_early = [] {
    Fixture f;
    f.CopyIn(f.a);
    f.CopyOut(f.a);
    HostReads(f.out.data);
  };
  EXPECT_DEATH(read_early(), "the host touches byte 0 of pinned memory .4000 bytes. that a copy still has to write");
  const auto write_early = [] {
    Fixture f;
    f.CopyIn(f.a);
    f.in.data[1] = 5;
  };
  EXPECT_DEATH(write_early(), "the host touches byte 4 of pinned memory .4000 bytes. that a copy still has to read");
  const auto free_early = [] {
    Fixture f;
    const Pinned other(1);
    f.CopyIn(f.a);
    gpu::CopyToHost(other.data, f.x.data(), 4, f.a.get());
    gpu::FreePinned(other.data);
  };
  EXPECT_DEATH(free_early(), "pinned memory is freed before its copies were waited for");
}

TEST(SimtRuntimeDeathTest, MisuseIsNamed) {
  const auto pageable = [] {
    Fixture f;
    std::vector<float> values(kCount);
    gpu::CopyToDevice(f.x.data(), values.data(), 4000, f.a.get());
  };
  EXPECT_DEATH(pageable(), "an asynchronous copy of 4000 bytes with memory of the host that is not pinned");
  const auto too_long = [] {
    Fixture f;
    gpu::CopyToDevice(f.x.data() + 1, f.in.data, 4000, f.a.get());
  };
  EXPECT_DEATH(too_long(), "copy to device memory of 4000 bytes at 0x.*: byte 4 of an allocation of 4000");
  const auto wait_in_capture = [] {
    Fixture f;
    (void)gpu::BeginCapture(f.a.get());
    f.a.Wait();
  };
  EXPECT_DEATH(wait_in_capture(), "Synchronize while its stream is captured");
}

}  // namespace
}  // namespace barn
