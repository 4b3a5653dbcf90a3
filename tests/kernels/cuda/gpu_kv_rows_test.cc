#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "kernels/cpu/kv_rows.h"
#include "kernels/cuda/kv_rows.h"
#include "tests/kernels/cuda/rows_test_util.h"
#include "tests/kernels/random_weights.h"

namespace barn {
namespace {

INSTANTIATE_TEST_SUITE_P(Schedules, OnGpu, testing::Values(0, 1, 2));

struct Case {
  KvType type;
  int64_t kv_heads, k_width, v_width, block_tokens;
  bool v_is_k_prefix = false;
};

const Case kCases[] = {
    {KvType::kF16, 2, 64, 64, 8},        {KvType::kF16, 3, 80, 72, 7},  {KvType::kF16, 1, 96, 64, 4, true},
    {KvType::kF32, 2, 20, 12, 3},        {KvType::kQ8_0, 2, 64, 64, 8}, {KvType::kQ8_0, 3, 80, 36, 5},
    {KvType::kQ8_0, 1, 96, 64, 4, true}, {KvType::kQ4_0, 2, 64, 64, 8}, {KvType::kQ4_0, 3, 80, 36, 5},
    {KvType::kQ4_0, 1, 96, 64, 4, true},
};
constexpr int64_t kBlocks = 9;

// The same cache on the host and on the device, all bytes 0x5a.
class Caches {
 public:
  explicit Caches(const Case& c)
      : rows_(kBlocks * c.kv_heads * c.block_tokens),
        host_k_(Bytes(c, c.k_width)),
        host_v_(Bytes(c, c.v_width)),
        host_k_scales_(static_cast<size_t>(rows_ * KvScales(c.k_width)), 0x5a5a),
        host_v_scales_(static_cast<size_t>(rows_ * KvScales(c.v_width)), 0x5a5a),
        k_(host_k_),
        v_(host_v_),
        k_scales_(host_k_scales_),
        v_scales_(host_v_scales_) {
    host = {.type = c.type,
            .k = host_k_.data(),
            .v = host_v_.data(),
            .k_scales = host_k_scales_.data(),
            .v_scales = host_v_scales_.data(),
            .block_tokens = c.block_tokens,
            .kv_heads = c.kv_heads,
            .k_width = c.k_width,
            .v_width = c.v_width,
            .v_is_k_prefix = c.v_is_k_prefix};
    device = {.type = c.type,
              .k = k_.data(),
              .v = v_.data(),
              .k_scales = k_scales_.data(),
              .v_scales = v_scales_.data(),
              .block_tokens = c.block_tokens,
              .kv_heads = c.kv_heads,
              .k_width = c.k_width,
              .v_width = c.v_width,
              .v_is_k_prefix = c.v_is_k_prefix};
  }
  void ExpectSame() const {
    EXPECT_EQ(k_.Values(), host_k_);
    EXPECT_EQ(v_.Values(), host_v_);
    EXPECT_EQ(k_scales_.Values(), host_k_scales_);
    EXPECT_EQ(v_scales_.Values(), host_v_scales_);
  }
  // Block `from` over block `to`, on the host.
  void CopyBlock(int64_t from, int64_t to) {
    Move(host_k_, from, to);
    if (!host.v_is_k_prefix) Move(host_v_, from, to);
    if (!KvHasScales(host.type)) return;
    Move(host_k_scales_, from, to);
    if (!host.v_is_k_prefix) Move(host_v_scales_, from, to);
  }

  KvLayer host;
  gpu::KvPlanes device;

 private:
  std::vector<uint8_t> Bytes(const Case& c, int64_t width) const {
    return std::vector<uint8_t>(static_cast<size_t>(rows_ * KvCodeBytes(c.type, width)), 0x5a);
  }
  template <class T>
  static void Move(std::vector<T>& plane, int64_t from, int64_t to) {
    const auto block = static_cast<int64_t>(plane.size()) / kBlocks;
    std::copy_n(plane.begin() + from * block, block, plane.begin() + to * block);
  }

  int64_t rows_;
  std::vector<uint8_t> host_k_, host_v_;
  std::vector<uint16_t> host_k_scales_, host_v_scales_;
  DeviceArray<uint8_t> k_, v_;
  DeviceArray<uint16_t> k_scales_, v_scales_;
};

TEST_P(OnGpu, KeysAndValuesAreStoredAsOnTheCpu) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(std::string(KvTypeName(c.type)) + ", widths " + std::to_string(c.k_width) + " and " +
                 std::to_string(c.v_width));
    Caches caches(c);
    constexpr int64_t kRows = 9;
    std::vector<float> k = RandomActivations(kRows * c.kv_heads * c.k_width, 1);
    std::vector<float> v = RandomActivations(kRows * c.kv_heads * c.v_width, 2);
    k[0] = 1e9f, k[1] = -1e9f, k[2] = 3e38f, v[3] = 0, v[4] = 1e-9f;
    k[3] = std::numeric_limits<float>::infinity();
    k[4] = -k[3];
    v[5] = -(v[6] = 100.0f);  // Of +-m the negative one counts.
    std::fill_n(v.begin() + c.v_width, c.v_width, 0.0f);
    // Two sequences, a row between them that belongs to none.
    const std::vector<int32_t> blocks = {7, 2, 4, 0, 5, 1, 8};
    const std::vector<SequenceRows> sequences = {
        {.first_row = 0, .rows = 5, .first_position = 2, .blocks = std::span(blocks).first(4)},
        {.first_row = 6, .rows = 3, .first_position = 4, .blocks = std::span(blocks).subspan(4)}};
    const DeviceArray<int32_t> positions(std::vector<int32_t>{2, 3, 4, 5, 6, -1, 4, 5, 6});
    const DeviceArray<int32_t> table_begin(std::vector<int32_t>{0, 0, 0, 0, 0, 0, 4, 4, 4});
    const DeviceArray<int32_t> on_blocks(blocks);
    const PlacedRows on_k(k, kRows, c.kv_heads * c.k_width, {.gap = 3});
    const PlacedRows on_v(v, kRows, c.kv_heads * c.v_width, {.offset = 1});
    const TestStream stream;
    gpu::WriteKv(caches.device,
                 {.positions = positions.data(), .table_begin = table_begin.data(), .blocks = on_blocks.data()},
                 on_k.view(), c.v_is_k_prefix ? gpu::Rows{} : on_v.view(), stream.get());
    stream.Wait();
    const Tensor host_k = {
        .data = k.data(), .rows = kRows, .cols = c.kv_heads * c.k_width, .stride = c.kv_heads * c.k_width};
    const Tensor host_v = {
        .data = v.data(), .rows = kRows, .cols = c.kv_heads * c.v_width, .stride = c.kv_heads * c.v_width};
    WriteKvRows(Isa::kScalar, caches.host, sequences, host_k, host_v, 0, kRows);
    caches.ExpectSame();

    const DeviceArray<int32_t> pairs(std::vector<int32_t>{7, 3, 2, 6});
    gpu::CopyKvBlocks(caches.device, pairs.data(), 2, stream.get());
    stream.Wait();
    caches.CopyBlock(7, 3);
    caches.CopyBlock(2, 6);
    caches.ExpectSame();
  }
}

TEST_P(OnGpu, NanMakesItsUnitNan) {
  for (const KvType type : {KvType::kQ8_0, KvType::kQ4_0}) {
    const Case c = {type, 1, 64, 32, 1};
    Caches caches(c);
    std::vector<float> k(64, 1.0f);
    k[40] = NAN;
    const PlacedRows on_k(k, 1, 64, {}), on_v(std::vector<float>(32, 2.0f), 1, 32, {});
    const DeviceArray<int32_t> zero(std::vector<int32_t>{0});
    const TestStream stream;
    gpu::WriteKv(caches.device, {.positions = zero.data(), .table_begin = zero.data(), .blocks = zero.data()},
                 on_k.view(), on_v.view(), stream.get());
    stream.Wait();
    uint16_t scales[2];
    ASSERT_TRUE(gpu::Download(scales, caches.device.k_scales, sizeof(scales)).ok());
    EXPECT_EQ(scales[0], FloatToHalf(type == KvType::kQ8_0 ? 1.0f / 127 : -1.0f / 8));
    EXPECT_TRUE(std::isnan(HalfToFloat(scales[1])));
  }
}

}  // namespace
}  // namespace barn
