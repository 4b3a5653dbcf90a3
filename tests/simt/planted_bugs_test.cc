#include <cmath>
#include <cstdint>
#include <vector>

#include "tests/simt/simt_test_util.h"

// Kernels that are wrong on purpose: each must be caught, by a line that says what it is or, where CUDA itself promises
// nothing, by a wrong result in one of the schedules.
namespace barn {
namespace {

constexpr uint32_t kFull = 0xffffffff;

// Whether some schedule makes `check` fail.
template <class Check>
bool SomeScheduleShows(Check check) {
  bool wrong = false;
  for (const simt::Options& options : AllSchedules()) {
    simt::SetOptions(options);
    wrong = wrong || !check();
  }
  simt::SetOptions({});
  return wrong;
}

// Warp sums meet in shared memory; the two barriers can be left out.
__global__ void TwoSums(const float* x, float* out, bool first_barrier, bool second_barrier) {
  BARN_SHARED(float, sums, [8]);
  for (int pass = 0; pass < 2; ++pass) {
    const float v = gpu::Ld(x + 256 * pass + threadIdx.x);
    float sum = v;
    for (int bits = 16; bits > 0; bits /= 2) sum += __shfl_xor_sync(kFull, sum, bits);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
    if (first_barrier) __syncthreads();
    float total = 0;
    for (int w = 0; w < 8; ++w) total += sums[w];
    if (second_barrier) __syncthreads();
    gpu::St(out + 256 * pass + threadIdx.x, total);
  }
}

bool TwoSumsAreRight(bool first_barrier, bool second_barrier) {
  std::vector<float> x(512);
  for (size_t i = 0; i < 512; ++i) x[i] = i < 256 ? 1 : 3;
  const DeviceArray<float> in(x), out(512);
  RunKernel(TwoSums, 1, 256, 0, in.data(), out.data(), first_barrier, second_barrier);
  const std::vector<float> values = out.Values();
  for (size_t i = 0; i < 512; ++i) {
    if (values[i] != (i < 256 ? 256 : 768)) return false;
  }
  return true;
}

TEST(PlantedBugs, MissingBarriersShow) {
  EXPECT_FALSE(SomeScheduleShows([] { return TwoSumsAreRight(true, true); }));
  EXPECT_TRUE(SomeScheduleShows([] { return TwoSumsAreRight(false, true); }));
  EXPECT_TRUE(SomeScheduleShows([] { return TwoSumsAreRight(true, false); }));
}

__global__ void Neighbour(int* out, bool sync) {
  BARN_SHARED(int, values, [32]);
  values[threadIdx.x] = static_cast<int>(threadIdx.x);
  if (sync) __syncwarp();
  gpu::St(out + threadIdx.x, values[(threadIdx.x + 1) % 32]);
}

TEST(PlantedBugs, WarpsAreNotInStepByThemselves) {
  const auto right = [](bool sync) {
    const DeviceArray<int> out(32);
    RunKernel(Neighbour, 1, 32, 0, out.data(), sync);
    for (int i = 0; i < 32; ++i) {
      if (out.Values()[static_cast<size_t>(i)] != (i + 1) % 32) return false;
    }
    return true;
  };
  EXPECT_FALSE(SomeScheduleShows([&] { return right(true); }));
  EXPECT_TRUE(SomeScheduleShows([&] { return right(false); }));
}

template <int kGroups>
__global__ void WeakWait(const uint4* x, uint4* out) {
  BARN_SHARED(uint4, tile, [2][32]);
  gpu::CopyAsync16(&tile[0][threadIdx.x], x + threadIdx.x);
  gpu::CommitCopies();
  gpu::CopyAsync16(&tile[1][threadIdx.x], x + 32 + threadIdx.x);
  gpu::CommitCopies();
  gpu::WaitCopies<kGroups>();
  __syncwarp();
  gpu::St(out + threadIdx.x, tile[0][threadIdx.x]);
  gpu::WaitCopies<0>();
}

TEST(PlantedBugs, ACopyThatIsNotWaitedForIsNotThere) {
  const DeviceArray<uint4> x(std::vector<uint4>(64, uint4{5, 5, 5, 5})), out(32);
  RunKernel(WeakWait<1>, 1, 32, 0, x.data(), out.data());
  EXPECT_EQ(out.Values()[9].x, 5u);
  RunKernel(WeakWait<2>, 1, 32, 0, x.data(), out.data());
  EXPECT_EQ(out.Values()[9].x, 0xffffffffu);
}

__global__ void Broken(int which, float* memory) {
  BARN_SHARED(float, shared, [32]);
  const uint32_t t = threadIdx.x;
  float* raw = memory + t;
  switch (which) {
    case 0:
      if (t < 32) __syncthreads();
      break;
    case 1:
      if (t < 32) __syncthreads();
      if (t >= 32) __syncthreads();
      break;
    case 2:
      if (t == 5) return;
      __syncthreads();
      break;
    case 3:
      if (t % 32 < 16) __shfl_sync(kFull, t, 0);
      break;
    case 4:
      if (t % 2 == 0) __ballot_sync(kFull, 1);
      if (t % 2 == 1) __syncwarp();
      break;
    case 5:
      __shfl_sync(t % 32 < 16 ? 0xffffu : 0xffff0000u, t, 20);
      break;
    case 6:
      __syncwarp(0xff);
      break;
    case 7:
      gpu::St(memory + 64 + t, 1.0f);
      break;
    case 8:
      shared[0] = gpu::Ld(memory - 1 - static_cast<int>(t));
      break;
    case 9:
      shared[0] = gpu::Ld(reinterpret_cast<const float4*>(memory + t)).x;
      break;
    case 10:
      if (t < 8) shared[t + 25] = 1;  // The last is one behind the end.
      break;
    case 11:
      raw[1 << 20] = 1;
      break;
    case 12:
      raw[3] = 1;  // The last three threads write behind the end.
      break;
    case 13:
      gpu::CopyAsync16(&shared[0], memory);
      break;
    default:
      break;
  }
}

void RunBroken(int which) {
  auto* memory = static_cast<float*>(*gpu::AllocateDevice(64 * sizeof(float)));
  RunKernel(Broken, 1, 64, 0, which, memory);
}

TEST(PlantedBugsDeathTest, EachIsNamed) {
  const std::pair<int, const char*> cases[] = {
      {0, "deadlock: __syncthreads waits for threads that never come.*planted_bugs_test.cc"},
      {1, "threads of a block wait at different __syncthreads"},
      {2, "__syncthreads after a thread of the block has returned|deadlock: __syncthreads"},
      {3, "deadlock: __shfl_sync waits|__shfl_sync: a lane of the mask has returned"},
      {4, "lanes of a warp meet in different operations: here .*, others in .*planted_bugs_test.cc"},
      {5, "__shfl_sync reads a lane outside the mask .block 0,0,0, thread [0-9]+,0,0."},
      {6, "__syncwarp: the lane is not in its own mask"},
      {7, "store of 4 bytes at 0x.*: in no live allocation; 0 bytes behind the end of one of 256"},
      {8, "load of 4 bytes at 0x.*: in no"},
      {9, "misaligned load: 16 bytes at 0x"},
      {10, "a write beyond shared memory: 0 bytes behind shared|AddressSanitizer: use-after-poison"},
      {11, "a kernel touches in no live allocation; [0-9]+ bytes behind the end of one of 256"},
      {12, "a write beside an allocation of 256 bytes|a kernel touches in no live allocation"},
      {13, "returns while copies that it started are not waited for"},
  };
  for (const auto& [which, message] : cases) {
    SCOPED_TRACE(which);
    EXPECT_DEATH(RunBroken(which), message);
  }
}

__global__ void MuchShared() {
  BARN_SHARED(char, much, [60 * 1024]);
  much[threadIdx.x] = 0;
}
__global__ void Recursive(float* out, int depth) {
  volatile float frame[256];
  frame[threadIdx.x % 256] = static_cast<float>(depth);
  if (depth < 1 << 20) Recursive(out, depth + 1);
  gpu::St(out, frame[0]);
}

TEST(PlantedBugsDeathTest, LimitsOfABlockAreKept) {
  EXPECT_DEATH(RunKernel(MuchShared, 1, 32, 50 * 1024), "much: 112640 bytes of shared memory in one block, at most");
  EXPECT_DEATH(RunKernel(MuchShared, 1, 32, 100 * 1024), "102400 bytes of shared memory, at most");
  EXPECT_DEATH(RunKernel(MuchShared, 1, 1025, 0), "a block of 1025 x 1 x 1 threads");
  EXPECT_DEATH(RunKernel(MuchShared, dim3(1, 70000), 32, 0), "a grid of 1 x 70000 x 1 blocks");
  EXPECT_DEATH(RunKernel(MuchShared, 0, 32, 0), "a grid of 0 x 1 x 1 blocks");
  const DeviceArray<float> out(1);
  EXPECT_DEATH(RunKernel(Recursive, 1, 32, 0, out.data(), 0), "a thread's stack overflows|stack-overflow");
}

__global__ void ReadFirst(const float* x, float* out) {
  BARN_SHARED(float, never_written, [4]);
  gpu::St(out, gpu::Ld(x) + (threadIdx.x == 0 ? 0.0f : never_written[0]));
  if (threadIdx.x == 1) gpu::St(out + 1, never_written[1]);
}

TEST(PlantedBugs, WhatNobodyWroteIsNotANumber) {
  const DeviceArray<float> x(1), out(std::vector<float>{0, 0});
  RunKernel(ReadFirst, 1, 2, 0, x.data(), out.data());
  EXPECT_TRUE(std::isnan(out.Values()[0]));
  EXPECT_TRUE(std::isnan(out.Values()[1]));
}

TEST(PlantedBugsDeathTest, FreedMemoryIsGone) {
  const auto use_after_free = [] {
    auto* memory = static_cast<float*>(*gpu::AllocateDevice(4096));
    gpu::FreeDevice(memory);
    const DeviceArray<float> out(2);
    RunKernel(ReadFirst, 1, 1, 0, memory, out.data());
  };
  EXPECT_DEATH(use_after_free(), "load of 4 bytes at 0x.*in no (live )?allocation");
  const auto free_twice = [] {
    void* memory = *gpu::AllocateDevice(4096);
    gpu::FreeDevice(memory);
    gpu::FreeDevice(memory);
  };
  EXPECT_DEATH(free_twice(), "what is freed is not the start of a live allocation");
}

}  // namespace
}  // namespace barn
