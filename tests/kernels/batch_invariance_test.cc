#include <cstring>
#include <iterator>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu/cpu_device.h"
#include "tests/kernels/random_weights.h"

// A row must get the same bits alone and among others, whatever the threads: sharded logits equal unsharded ones, and a
// stream's tokens do not depend on its neighbours.

namespace barn {
namespace {

struct Setup {
  Isa isa;
  ActivationMode mode;
};

class BatchInvariance : public testing::TestWithParam<Setup> {
 protected:
  void SetUp() override {
    one_ = std::make_unique<CpuDevice>(CpuOptions{.threads = 1}, GetParam().mode, GetParam().isa);
    three_ = std::make_unique<CpuDevice>(CpuOptions{.threads = 3, .pin = false}, GetParam().mode, GetParam().isa);
  }

  std::unique_ptr<CpuDevice> one_, three_;
};

std::vector<DType> AllTypes() {
  std::vector<DType> types = CpuInt8Types();
  types.insert(types.end(), std::begin(kPlainTypes), std::end(kPlainTypes));
  return types;
}

TEST_P(BatchInvariance, MatMul) {
  constexpr int64_t kTokens = 137, kCols = 512;  // More than one block of tokens.
  std::vector<float> x = RandomActivations(kTokens * kCols, 1);
  for (const DType dtype : AllTypes()) {
    for (const int64_t rows : {5, 50}) {
      SCOPED_TRACE(testing::Message() << Info(dtype).name << ", " << rows << " rows");
      const std::vector<std::byte> bytes = RandomWeights(dtype, rows, kCols, 2);
      const std::vector<std::byte> other_bytes = RandomWeights(DType::kQ5_K, 33, kCols, 3);
      const auto run = [&](CpuDevice& device, int64_t first, int64_t tokens) {
        const auto weight = device.Upload(dtype, {.rows = rows, .cols = kCols}, bytes).value();
        const auto other = device.Upload(DType::kQ5_K, {.rows = 33, .cols = kCols}, other_bytes).value();
        std::vector<float> out(tokens * rows), other_out(tokens * 33);
        const Projection projections[] = {{other.get(), nullptr, {other_out.data(), tokens, 33, 33}},
                                          {weight.get(), nullptr, {out.data(), tokens, rows, rows}}};
        device.MatMul(projections, {x.data() + first * kCols, tokens, kCols, kCols});
        return out;
      };
      const std::vector<float> all = run(*three_, 0, kTokens);
      for (const int64_t tokens : {1, 2, 3, 4, 6, 29}) {
        for (int64_t first = 0; first + tokens <= kTokens; first += tokens + 40) {
          const std::vector<float> some = run(tokens % 2 == 0 ? *three_ : *one_, first, tokens);
          ASSERT_EQ(std::memcmp(some.data(), all.data() + first * rows, some.size() * sizeof(float)), 0)
              << tokens << " tokens from " << first;
        }
      }
    }
  }
}

TEST_P(BatchInvariance, BatchedMatMul) {
  constexpr int64_t kHeads = 3, kRows = 21, kCols = 96, kTokens = 9;
  std::vector<float> x = RandomActivations(kTokens * kHeads * kCols, 4);
  for (const DType dtype : {DType::kF32, DType::kQ8_0, DType::kQ4_0}) {
    const std::vector<std::byte> bytes = RandomWeights(dtype, kHeads * kRows, kCols, 5);
    const auto run = [&](CpuDevice& device, int64_t first, int64_t tokens) {
      const auto weight = device.Upload(dtype, {.count = kHeads, .rows = kRows, .cols = kCols}, bytes).value();
      std::vector<float> out(tokens * kHeads * kRows);
      device.BatchedMatMul(*weight, {x.data() + first * kHeads * kCols, tokens, kHeads * kCols, kHeads * kCols},
                           {out.data(), tokens, kHeads * kRows, kHeads * kRows});
      return out;
    };
    const std::vector<float> all = run(*three_, 0, kTokens);
    for (int64_t t = 0; t < kTokens; ++t) {
      const std::vector<float> alone = run(*one_, t, 1);
      ASSERT_EQ(std::memcmp(alone.data(), all.data() + t * kHeads * kRows, alone.size() * sizeof(float)), 0)
          << Info(dtype).name << ", token " << t;
      // And each head is the plain product of its part of x.
      const auto head = one_->Upload(dtype, {.rows = kRows, .cols = kCols},
                                     std::span(bytes).subspan(bytes.size() / kHeads, bytes.size() / kHeads))
                            .value();
      std::vector<float> out(kRows);
      const Projection projection = {head.get(), nullptr, {out.data(), 1, kRows, kRows}};
      one_->MatMul({&projection, 1}, {x.data() + (t * kHeads + 1) * kCols, 1, kCols, kCols});
      ASSERT_EQ(std::memcmp(out.data(), alone.data() + kRows, kRows * sizeof(float)), 0);
    }
  }
}

std::vector<Setup> SupportedSetups() {
  std::vector<Setup> setups;
  for (const Isa isa : kIsas) {
    if (!IsaSupported(isa)) continue;
    setups.push_back({isa, ActivationMode::kInt8});
    setups.push_back({isa, ActivationMode::kF32});
  }
  return setups;
}

INSTANTIATE_TEST_SUITE_P(Isas, BatchInvariance, testing::ValuesIn(SupportedSetups()));

}  // namespace
}  // namespace barn
