#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "tests/simt/simt_test_util.h"

// What kernels may count on: each word of the dialect does what CUDA says, in every schedule.
namespace barn {
namespace {

constexpr uint32_t kFull = 0xffffffff;

class Simt : public testing::TestWithParam<int> {
 protected:
  void SetUp() override { simt::SetOptions(AllSchedules()[static_cast<size_t>(GetParam())]); }
  void TearDown() override { simt::SetOptions({}); }
};
INSTANTIATE_TEST_SUITE_P(Schedules, Simt, testing::Values(0, 1, 2));

__global__ void Coordinates(uint32_t* out) {
  const uint32_t block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const uint32_t thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const uint32_t threads = blockDim.x * blockDim.y * blockDim.z;
  gpu::St(out + block * threads + thread, blockIdx.x + 10 * blockIdx.y + 100 * blockIdx.z + 1000 * threadIdx.x +
                                              100000 * threadIdx.y + 10000000 * threadIdx.z);
}

TEST_P(Simt, EveryThreadOfEveryBlockRunsOnce) {
  const DeviceArray<uint32_t> out(2 * 3 * 4 * 5 * 7 * 3);
  RunKernel(Coordinates, dim3(2, 3, 4), dim3(5, 7, 3), 0, out.data());
  const std::vector<uint32_t> values = out.Values();
  size_t i = 0;
  for (uint32_t bz = 0; bz < 4; ++bz)
    for (uint32_t by = 0; by < 3; ++by)
      for (uint32_t bx = 0; bx < 2; ++bx)
        for (uint32_t z = 0; z < 3; ++z)
          for (uint32_t y = 0; y < 7; ++y)
            for (uint32_t x = 0; x < 5; ++x)
              ASSERT_EQ(values[i++], bx + 10 * by + 100 * bz + 1000 * x + 100000 * y + 10000000 * z);
}

// out[block] = the sum of the block's 256 values, twice over the same shared array.
__global__ void BlockSum(const float* x, float* out) {
  BARN_SHARED(float, sums, [8]);
  const uint32_t lane = threadIdx.x % 32;
  float total = 0;
  for (int pass = 0; pass < 2; ++pass) {
    float v = gpu::Ld(x + blockIdx.x * 256 + threadIdx.x);
    for (int bits = 16; bits > 0; bits /= 2) v += __shfl_xor_sync(kFull, v, bits);
    if (lane == 0) sums[threadIdx.x / 32] = v;
    __syncthreads();
    v = lane < 8 ? sums[lane] : 0.0f;
    for (int bits = 4; bits > 0; bits /= 2) v += __shfl_xor_sync(kFull, v, bits);
    total += v;
    __syncthreads();
  }
  if (threadIdx.x == 0) gpu::St(out + blockIdx.x, total);
}

TEST_P(Simt, BarriersAndShufflesMakeASum) {
  std::vector<float> x(256 * 9);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 17);
  const DeviceArray<float> in(x);
  const DeviceArray<float> out(9);
  RunKernel(BlockSum, 9, 256, 0, in.data(), out.data());
  for (size_t b = 0; b < 9; ++b) {
    float sum = 0;
    for (size_t i = 0; i < 256; ++i) sum += x[256 * b + i];
    EXPECT_EQ(out.Values()[b], 2 * sum);
  }
}

__global__ void WarpWords(int* out) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  int* mine = out + 8 * threadIdx.x;
  gpu::St(mine + 0, __shfl_sync(kFull, lane, 3));
  gpu::St(mine + 1, __shfl_xor_sync(kFull, lane, 5));
  gpu::St(mine + 2, __shfl_down_sync(kFull, lane, 2));
  gpu::St(mine + 3, __shfl_up_sync(kFull, lane, 2));
  gpu::St(mine + 4, static_cast<int>(__ballot_sync(kFull, lane % 3 == 0)));
  gpu::St(mine + 5, __any_sync(kFull, lane == 31) + 2 * __all_sync(kFull, lane >= 0) + 4 * __all_sync(kFull, lane > 0));
  // Two halves of a warp on ways of their own.
  const uint32_t half = lane < 16 ? 0xffffu : 0xffff0000u;
  gpu::St(mine + 6, static_cast<int>(__popc(__ballot_sync(half, 1))));
  const double wide = __shfl_xor_sync(kFull, lane + 0.5, 1);
  gpu::St(mine + 7, static_cast<int>(2 * wide));
}

TEST_P(Simt, WarpWordsDoWhatCudaSays) {
  const DeviceArray<int> out(8 * 64);
  RunKernel(WarpWords, 1, 64, 0, out.data());
  const std::vector<int> values = out.Values();
  for (int t = 0; t < 64; ++t) {
    const int lane = t % 32;
    const int* mine = values.data() + 8 * t;
    EXPECT_EQ(mine[0], 3);
    EXPECT_EQ(mine[1], lane ^ 5);
    EXPECT_EQ(mine[2], lane < 30 ? lane + 2 : lane);
    EXPECT_EQ(mine[3], lane >= 2 ? lane - 2 : lane);
    EXPECT_EQ(static_cast<uint32_t>(mine[4]), 0x49249249u);
    EXPECT_EQ(mine[5], 3);
    EXPECT_EQ(mine[6], 16);
    EXPECT_EQ(mine[7], 2 * (lane ^ 1) + 1);
  }
}

__global__ void PartWarp(uint32_t* out) {
  const uint32_t votes = __ballot_sync(kFull, 1);
  __syncthreads();
  gpu::St(out + threadIdx.x, votes);
}

TEST_P(Simt, ALastWarpMayHaveFewerLanes) {
  const DeviceArray<uint32_t> out(40);
  RunKernel(PartWarp, 1, 40, 0, out.data());
  EXPECT_EQ(out.Values()[0], kFull);
  EXPECT_EQ(out.Values()[39], 0xffu);
}

__global__ void Atomics(int* count, float* sum, int* most) {
  BARN_SHARED(int, block_count, [1]);
  if (threadIdx.x == 0) block_count[0] = 0;
  __syncthreads();
  atomicAdd(&block_count[0], 1);
  __syncthreads();
  if (threadIdx.x == 0) atomicAdd(count, block_count[0]);
  atomicAdd(sum, 0.5f);
  atomicMax(most, static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x));
}

TEST_P(Simt, AtomicsMeetAcrossBlocks) {
  const DeviceArray<int> count(std::vector<int>{0});
  const DeviceArray<float> sum(std::vector<float>{0});
  const DeviceArray<int> most(std::vector<int>{-1});
  RunKernel(Atomics, 100, 96, 0, count.data(), sum.data(), most.data());
  EXPECT_EQ(count.Values()[0], 9600);
  EXPECT_EQ(sum.Values()[0], 4800.0f);
  EXPECT_EQ(most.Values()[0], 9599);
}

// out[i] = x[i] + 1 by tiles of 32 x 16 bytes, the next one on its way while one is used.
__global__ void Pipeline(const uint4* x, uint4* out, int tiles) {
  uint4* tile = gpu::DynamicShared<uint4>();
  const uint32_t lane = threadIdx.x;
  gpu::CopyAsync16(tile + lane, x + lane);
  gpu::CommitCopies();
  for (int t = 0; t < tiles; ++t) {
    if (t + 1 < tiles) gpu::CopyAsync16(tile + 32 * ((t + 1) % 2) + lane, x + 32 * (t + 1) + lane);
    gpu::CommitCopies();
    gpu::WaitCopies<1>();
    __syncwarp();
    uint4 v = gpu::LdShared(tile + 32 * (t % 2) + (lane + 1) % 32);  // A neighbour's copy.
    v.x += 1;
    gpu::St(out + 32 * t + lane, v);
    __syncwarp();
  }
  gpu::WaitCopies<0>();
}

TEST_P(Simt, AsynchronousCopiesArriveWhenWaitedFor) {
  std::vector<uint4> x(32 * 5);
  for (uint32_t i = 0; i < x.size(); ++i) x[i] = {i, i, i, i};
  const DeviceArray<uint4> in(x);
  const DeviceArray<uint4> out(x.size());
  RunKernel(Pipeline, 1, 32, 2 * 32 * 16, in.data(), out.data(), 5);
  const std::vector<uint4> values = out.Values();
  for (uint32_t i = 0; i < x.size(); ++i) EXPECT_EQ(values[i].x, i / 32 * 32 + (i + 1) % 32 + 1);
}

// a: 16 x 32, b: 32 x 8 (column by column), both int8; sums: 16 x 8 by one product, then by two of half the depth.
__global__ void Int8Products(const uint32_t* a, const uint32_t* b, int* out) {
  const int g = static_cast<int>(threadIdx.x) / 4;
  const int q = static_cast<int>(threadIdx.x) % 4;
  const uint32_t fa[4] = {gpu::Ld(a + 8 * g + q), gpu::Ld(a + 8 * (g + 8) + q), gpu::Ld(a + 8 * g + q + 4),
                          gpu::Ld(a + 8 * (g + 8) + q + 4)};
  const uint32_t fb[2] = {gpu::Ld(b + 8 * g + q), gpu::Ld(b + 8 * g + q + 4)};
  int one[4] = {1, 1, 1, 1};
  gpu::MmaS8(one, fa, fb);
  int two[4] = {1, 1, 1, 1};
  gpu::MmaS8K16(two, {fa[0], fa[1]}, fb[0]);
  gpu::MmaS8K16(two, {fa[2], fa[3]}, fb[1]);
  for (int i = 0; i < 4; ++i) {
    const int at = 8 * (g + 8 * (i / 2)) + 2 * q + i % 2;
    gpu::St(out + at, one[i]);
    gpu::St(out + 128 + at, two[i]);
  }
}

TEST_P(Simt, TensorCoresMultiplyInt8) {
  std::mt19937 random(3);
  std::vector<uint32_t> a(16 * 8), b(8 * 8);
  for (uint32_t& word : a) word = random();
  for (uint32_t& word : b) word = random();
  const DeviceArray<uint32_t> da(a), db(b);
  const DeviceArray<int> out(256);
  RunKernel(Int8Products, 1, 32, 0, da.data(), db.data(), out.data());
  const auto byte = [](const std::vector<uint32_t>& words, int i) {
    return static_cast<int>(static_cast<int8_t>(words[static_cast<size_t>(i / 4)] >> (8 * (i % 4))));
  };
  const std::vector<int> values = out.Values();
  for (int row = 0; row < 16; ++row) {
    for (int column = 0; column < 8; ++column) {
      int sum = 1;
      for (int k = 0; k < 32; ++k) sum += byte(a, 32 * row + k) * byte(b, 32 * column + k);
      EXPECT_EQ(values[static_cast<size_t>(8 * row + column)], sum);
      EXPECT_EQ(values[static_cast<size_t>(128 + 8 * row + column)], sum);
    }
  }
}

// a: 16 x 16 halves in pairs, b: 8 columns of 16 halves.
__global__ void HalfProducts(const uint32_t* a, const uint32_t* b, float* out) {
  const int g = static_cast<int>(threadIdx.x) / 4;
  const int q = static_cast<int>(threadIdx.x) % 4;
  float d[4] = {0, 0, 0, 0};
  gpu::MmaF16(d,
              {gpu::Ld(a + 8 * g + q), gpu::Ld(a + 8 * (g + 8) + q), gpu::Ld(a + 8 * g + q + 4),
               gpu::Ld(a + 8 * (g + 8) + q + 4)},
              {gpu::Ld(b + 8 * g + q), gpu::Ld(b + 8 * g + q + 4)});
  for (int i = 0; i < 4; ++i) gpu::St(out + 8 * (g + 8 * (i / 2)) + 2 * q + i % 2, d[i]);
}

TEST_P(Simt, TensorCoresMultiplyHalves) {
  std::mt19937 random(4);
  std::vector<float> a(16 * 16), b(8 * 16);
  const auto small = [&] { return static_cast<float>(static_cast<int>(random() % 33) - 16) / 8; };
  for (float& v : a) v = small();
  for (float& v : b) v = small();
  const auto pairs = [](const std::vector<float>& values) {
    std::vector<uint32_t> words;
    for (size_t i = 0; i < values.size(); i += 2) words.push_back(gpu::FloatsToHalves(values[i], values[i + 1]));
    return words;
  };
  const DeviceArray<uint32_t> da(pairs(a)), db(pairs(b));
  const DeviceArray<float> out(128);
  RunKernel(HalfProducts, 1, 32, 0, da.data(), db.data(), out.data());
  for (size_t row = 0; row < 16; ++row) {
    for (size_t column = 0; column < 8; ++column) {
      float sum = 0;  // Exact: small multiples of 1/64.
      for (size_t k = 0; k < 16; ++k) sum += a[16 * row + k] * b[16 * column + k];
      EXPECT_EQ(out.Values()[8 * row + column], sum);
    }
  }
}

TEST(SimtWords, IntegerWordsMatchTheirDefinition) {
  EXPECT_EQ(__dp4a(0x01ff807f, 0x02030405, 7), 1 * 2 + -1 * 3 + -128 * 4 + 127 * 5 + 7);
  EXPECT_EQ(__byte_perm(0x33221100, 0xffeeddcc, 0x7140), 0xff11cc00u);
  EXPECT_EQ(__byte_perm(0x80000000, 0, 0xb800), 0xff000000u);  // Bit 3 spreads the sign of a byte.
  EXPECT_EQ(__funnelshift_r(0x89abcdef, 0x01234567, 8), 0x6789abcdu);
  EXPECT_EQ(__clz(1), 31);
  EXPECT_EQ(__ffs(8), 4);
  EXPECT_EQ(__float2int_rn(2.5f), 2);
  EXPECT_EQ(__float2int_rn(-3.5f), -4);
}

}  // namespace
}  // namespace barn
