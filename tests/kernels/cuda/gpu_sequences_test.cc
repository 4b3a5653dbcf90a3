#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "kernels/cuda/gpu_device.h"
#include "tests/kernels/cuda/on_device.h"
#include "tests/kernels/cuda/on_gpu.h"
#include "tests/kernels/random_weights.h"

namespace barn {
namespace {

INSTANTIATE_TEST_SUITE_P(Schedules, OnGpu, testing::Values(0, 1, 2));

std::unique_ptr<Device> MakeGpu() {
  auto device = GpuDevice::Create({.memory_bytes = int64_t{16} << 20});
  EXPECT_TRUE(device.ok()) << device.status();
  return *std::move(device);
}

std::span<const std::byte> Bytes(const std::vector<float>& values) { return std::as_bytes(std::span(values)); }

// Latent attention as a worker runs it on a GPU: keys and values stay compressed in the cache, and the matrices that
// expand them are folded into the query and the result. Compared with keys and values that are expanded, in f64.
class Latent {
 public:
  static constexpr int64_t kHeads = 4, kNope = 32, kRope = 16, kRank = 64, kValue = 24, kTokens = 13, kBlock = 6;
  static constexpr int64_t kWidth = kRank + kRope;
  static constexpr float kScale = 0.05f;

  Latent()
      : nope_(RandomActivations(kTokens * kHeads * kNope, 1)),
        rotated_(RandomActivations(kTokens * kHeads * kRope, 2)),
        latent_(RandomActivations(kTokens * kWidth, 3)),
        k_b_(RandomActivations(kHeads * kRank * kNope, 4)),
        v_b_(RandomActivations(kHeads * kValue * kRank, 5)) {}

  // Rows [0, first) in one step, then one at a time: [kTokens, kHeads * kValue].
  std::vector<float> Run(Device& gpu, int64_t first) const {
    const auto k_b = *gpu.Upload(DType::kF32, {.count = kHeads, .rows = kRank, .cols = kNope}, Bytes(k_b_));
    const auto v_b = *gpu.Upload(DType::kF32, {.count = kHeads, .rows = kValue, .cols = kRank}, Bytes(v_b_));
    const auto cache = *gpu.AllocateKv(5 * kBlock * kWidth * static_cast<int64_t>(sizeof(float)));
    const KvLayer kv = {.type = KvType::kF32,
                        .k = cache->data(),
                        .block_tokens = kBlock,
                        .kv_heads = 1,
                        .k_width = kWidth,
                        .v_width = kRank,
                        .v_is_k_prefix = true};
    const std::vector<int32_t> blocks = {4, 0, 2};
    std::vector<float> all;
    for (int64_t begin = 0, end = first; begin < kTokens; begin = end, ++end) {
      const int64_t rows = end - begin;
      const auto part = [&](const std::vector<float>& values) {
        const auto cols = static_cast<int64_t>(values.size()) / kTokens;
        return OnDevice(gpu, {values.begin() + begin * cols, values.begin() + end * cols}, rows);
      };
      const OnDevice nope = part(nope_), rotated = part(rotated_), latent = part(latent_);
      const OnDevice absorbed(gpu, rows, kHeads * kRank), query(gpu, rows, kHeads * kWidth);
      const OnDevice mixed(gpu, rows, kHeads * kValue);
      const SequenceRows sequence = {.first_row = 0, .rows = rows, .first_position = begin, .blocks = blocks};
      gpu.WriteKv(kv, {&sequence, 1}, latent.tensor, {});
      gpu.BatchedMatMul(*k_b, nope.tensor, absorbed.tensor);
      const auto heads = [&](Tensor x, int64_t offset, int64_t cols, int64_t stride) {
        return Tensor{.data = x.data + offset, .rows = rows * kHeads, .cols = cols, .stride = stride};
      };
      gpu.Copy(heads(absorbed.tensor, 0, kRank, kRank), heads(query.tensor, 0, kRank, kWidth));
      gpu.Copy(heads(rotated.tensor, 0, kRope, kRope), heads(query.tensor, kRank, kRope, kWidth));
      gpu.Attention({.q = query.tensor,
                     .out = absorbed.tensor,
                     .kv = &kv,
                     .sequences = {&sequence, 1},
                     .heads = kHeads,
                     .scale = kScale});
      gpu.BatchedMatMul(*v_b, absorbed.tensor, mixed.tensor);
      const std::vector<float> values = mixed.Values();
      all.insert(all.end(), values.begin(), values.end());
    }
    EXPECT_TRUE(gpu.status().ok()) << gpu.status();
    return all;
  }

  void Expect(const std::vector<float>& got) const {
    ASSERT_EQ(got.size(), static_cast<size_t>(kTokens * kHeads * kValue));
    for (int64_t t = 0; t < kTokens; ++t) {
      for (int64_t h = 0; h < kHeads; ++h) ExpectHead(got.data() + (t * kHeads + h) * kValue, t, h);
    }
  }

 private:
  struct Sum {
    double value = 0;
    double magnitude = 0;  // Of its terms.
  };
  static double At(const std::vector<float>& values, int64_t index) { return values[static_cast<size_t>(index)]; }

  Sum Score(int64_t t, int64_t h, int64_t p) const {
    Sum sum;
    for (int64_t n = 0; n < kNope; ++n) {
      for (int64_t c = 0; c < kRank; ++c) {
        const double key = At(k_b_, (h * kRank + c) * kNope + n) * At(latent_, p * kWidth + c);
        sum.value += kScale * At(nope_, (t * kHeads + h) * kNope + n) * key;
        sum.magnitude += std::abs(kScale * At(nope_, (t * kHeads + h) * kNope + n) * key);
      }
    }
    for (int64_t r = 0; r < kRope; ++r) {
      const double term = kScale * At(rotated_, (t * kHeads + h) * kRope + r) * At(latent_, p * kWidth + kRank + r);
      sum.value += term;
      sum.magnitude += std::abs(term);
    }
    return sum;
  }

  void ExpectHead(const float* got, int64_t t, int64_t h) const {
    std::vector<double> weights;
    double score_error = 0;
    for (int64_t p = 0; p <= t; ++p) {
      const Sum score = Score(t, h, p);
      weights.push_back(score.value);
      // Each product is rounded once in a sum of kNope and once in one of kWidth terms.
      score_error = std::max(score_error, static_cast<double>(kNope + kWidth + 8) * 0x1p-24 * score.magnitude);
    }
    const double max = *std::max_element(weights.begin(), weights.end());
    double sum = 0;
    for (double& weight : weights) sum += weight = std::exp(weight - max);
    const double relative = 2 * score_error + static_cast<double>(weights.size() + kRank + 32) * 0x1p-23;
    for (int64_t v = 0; v < kValue; ++v) {
      Sum value;
      for (int64_t p = 0; p <= t; ++p) {
        for (int64_t c = 0; c < kRank; ++c) {
          const double term = weights[static_cast<size_t>(p)] / sum * At(v_b_, (h * kValue + v) * kRank + c) *
                              At(latent_, p * kWidth + c);
          value.value += term;
          value.magnitude += std::abs(term);
        }
      }
      ASSERT_LE(std::abs(got[v] - value.value), relative * value.magnitude)
          << "row " << t << " head " << h << ", " << v;
    }
  }

  std::vector<float> nope_, rotated_, latent_, k_b_, v_b_;
};

TEST_P(OnGpu, LatentAttentionIsWhatExpandedKeysAndValuesGive) {
  const Latent latent;
  for (const int64_t first : {int64_t{1}, int64_t{9}, Latent::kTokens}) {
    SCOPED_TRACE(first);
    const auto gpu = MakeGpu();
    ASSERT_NO_FATAL_FAILURE(latent.Expect(latent.Run(*gpu, first)));
  }
}

// The cache of one layer, filled by WriteKv, of a device.
struct Cache {
  Cache(Device& device, KvType type, bool prefix) {
    constexpr int64_t kRows = 6 * 4 * 2;  // Blocks, tokens, heads.
    memory = *device.AllocateKv(kRows * (48 + 32) * 4);
    scales = *device.AllocateKv(kRows * (2 + 1) * 2);
    auto* halves = reinterpret_cast<uint16_t*>(scales->data());
    kv = {.type = type,
          .k = memory->data(),
          .v = prefix ? nullptr : memory->data() + kRows * 48,
          .k_scales = KvHasScales(type) ? halves : nullptr,
          .v_scales = KvHasScales(type) && !prefix ? halves + kRows * 2 : nullptr,
          .block_tokens = 4,
          .kv_heads = 2,
          .k_width = 48,
          .v_width = 32,
          .v_is_k_prefix = prefix};
  }
  std::unique_ptr<Buffer> memory, scales;
  KvLayer kv;
};

std::vector<float> Attend(Device& device, const Cache& cache, std::span<const int32_t> blocks, int64_t position) {
  const OnDevice q(device, RandomActivations(4 * 48, 9), 1), out(device, 1, 4 * 32);
  const SequenceRows sequence = {.first_row = 0, .rows = 1, .first_position = position, .blocks = blocks};
  device.Attention(
      {.q = q.tensor, .out = out.tensor, .kv = &cache.kv, .sequences = {&sequence, 1}, .heads = 4, .scale = 0.2f});
  return out.Values();
}

void Write(Device& device, const Cache& cache, std::span<const int32_t> blocks, int64_t first, int64_t rows,
           uint32_t seed) {
  const OnDevice k(device, RandomActivations(rows * 2 * 48, seed), rows);
  const OnDevice v(device, RandomActivations(rows * 2 * 32, seed + 1), rows);
  const SequenceRows sequence = {.first_row = 0, .rows = rows, .first_position = first, .blocks = blocks};
  device.WriteKv(cache.kv, {&sequence, 1}, k.tensor, v.tensor);
}

// A sequence of ten tokens goes on in two ways: the second has its own copy of the block where they part.
void ExpectCopiesStandAlone(Device& device, KvType type, bool prefix) {
  SCOPED_TRACE(device.Describe() + ", " + std::string(KvTypeName(type)) + (prefix ? ", latent" : ""));
  const Cache cache(device, type, prefix);
  const std::vector<int32_t> first = {5, 1, 3}, second = {2, 1, 4}, moved = {2, 1, 0};
  Write(device, cache, first, 0, 10, 20);
  const std::vector<float> before = Attend(device, cache, first, 9);
  const KvBlockCopy copies[] = {{.from = 3, .to = 4}, {.from = 5, .to = 2}};
  device.CopyKvBlocks(cache.kv, copies);
  device.CopyKvBlocks(cache.kv, {});
  EXPECT_EQ(Attend(device, cache, second, 9), before);
  Write(device, cache, second, 10, 2, 30);
  EXPECT_NE(Attend(device, cache, second, 11), Attend(device, cache, first, 11));
  EXPECT_EQ(Attend(device, cache, first, 9), before);
  const std::vector<float> longer = Attend(device, cache, second, 11);
  device.CopyKvBlocks(cache.kv, std::vector<KvBlockCopy>{{.from = 4, .to = 0}});
  EXPECT_EQ(Attend(device, cache, moved, 11), longer);
  EXPECT_TRUE(device.status().ok()) << device.status();
}

TEST_P(OnGpu, CopiedBlocksStandAlone) {
  const auto gpu = MakeGpu();
  const auto cpu = *CreateCpuDevice({.threads = 1, .pin = false});
  for (Device* device : {gpu.get(), cpu.get()}) {
    for (const KvType type : {KvType::kF16, KvType::kF32, KvType::kQ8_0, KvType::kQ4_0}) {
      for (const bool prefix : {false, true}) ExpectCopiesStandAlone(*device, type, prefix);
    }
  }
}

}  // namespace
}  // namespace barn
