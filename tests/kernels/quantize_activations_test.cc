#include "kernels/cpu/quantize_activations.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "gtest/gtest.h"
#include "kernels/cpu/isa.h"
#include "tests/kernels/random_weights.h"

namespace barn {
namespace {

TEST(QuantizeActivations, CodesScalesAndSumsFollowTheirDefinition) {
  const int64_t rows = 3, cols = 352;  // 11 blocks, padded to 16.
  const std::vector<float> x = RandomActivations(rows * cols, 1);
  QuantizedRows quantized;
  quantized.Resize(rows, cols);
  for (int64_t r = 0; r < rows; ++r) quantized.Quantize(ScalarKernels(), r, x.data() + r * cols);
  for (int64_t r = 0; r < rows; ++r) {
    const QuantizedView view = quantized.view(r);
    ASSERT_EQ(view.padded_blocks, 16u);
    for (int64_t b = 0; b < 16; ++b) {
      float largest = 0;
      int sums[2] = {};
      for (int64_t i = 0; i < 32; ++i) {
        const int code = view.codes[32 * b + i];
        sums[i / 16] += code;
        ASSERT_LE(std::abs(code), 127);
        const float value = b < 11 ? x[r * cols + 32 * b + i] : 0.0f;
        largest = std::max(largest, std::abs(value));
        ASSERT_LE(std::abs(view.scales[b] * static_cast<float>(code) - value), 0.50001f * view.scales[b]);
      }
      EXPECT_FLOAT_EQ(view.scales[b], largest / 127.0f);
      EXPECT_EQ(view.sums16[2 * b], sums[0]);
      EXPECT_EQ(view.sums16[2 * b + 1], sums[1]);
      EXPECT_FLOAT_EQ(view.sums[b], view.scales[b] * static_cast<float>(sums[0] + sums[1]));
    }
  }
}

TEST(QuantizeActivations, AChunkSharesItsScale) {
  const int64_t cols = 512;
  std::vector<float> x = RandomActivations(cols, 3);
  x[100] = 900.0f;
  x[300] = std::numeric_limits<float>::quiet_NaN();
  QuantizedRows quantized;
  quantized.Resize(1, cols, ScaleSpan::kChunk);
  for (const KernelTable* kernels : {&ScalarKernels(), IsaSupported(Isa::kAvx2) ? &Avx2Kernels() : nullptr}) {
    if (kernels == nullptr) continue;
    quantized.Quantize(*kernels, 0, x.data());
    const QuantizedView view = quantized.view();
    for (int64_t b = 0; b < 8; ++b) {
      EXPECT_FLOAT_EQ(view.scales[b], 900.0f / 127.0f);
      EXPECT_TRUE(std::isnan(view.scales[8 + b]));
      int sum = 0;
      for (int64_t i = 32 * b; i < 32 * b + 32; ++i) {
        ASSERT_LE(std::abs(view.scales[b] * static_cast<float>(view.codes[i]) - x[i]), 0.50001f * view.scales[b]);
        sum += view.codes[i];
      }
      EXPECT_EQ(view.sums16[2 * b] + view.sums16[2 * b + 1], sum);
    }
  }
}

TEST(QuantizeActivations, SameBitsOnEveryInstructionSet) {
  if (!IsaSupported(Isa::kAvx2)) return;
  std::vector<float> x = RandomActivations(32 * 64, 2);
  // Ties, zeros, tiny and huge values, and what is not a number, each in a block of its own.
  for (int i = 0; i < 32; ++i) {
    x[i] = static_cast<float>(i) - 15.5f;
    x[32 + i] = 0.0f;
    x[64 + i] = 1e-38f * static_cast<float>(i);
    x[96 + i] = 3e38f * (i % 2 == 0 ? 1.0f : -1.0f);
    x[160 + i] = 127.0f * static_cast<float>(i % 7) / 6.0f + 0.5f;
  }
  x[129] = std::numeric_limits<float>::infinity();
  x[200] = std::numeric_limits<float>::quiet_NaN();
  QuantizedRows scalar, vector;
  scalar.Resize(1, 32 * 64);
  vector.Resize(1, 32 * 64);
  scalar.Quantize(ScalarKernels(), 0, x.data());
  vector.Quantize(Avx2Kernels(), 0, x.data());
  EXPECT_EQ(std::memcmp(scalar.view().codes, vector.view().codes, 32 * 64), 0);
  EXPECT_EQ(std::memcmp(scalar.view().scales, vector.view().scales, 64 * sizeof(float)), 0);
  EXPECT_EQ(std::memcmp(scalar.view().sums16, vector.view().sums16, 128 * sizeof(int16_t)), 0);
  EXPECT_TRUE(std::isinf(scalar.view().scales[4]));
  EXPECT_TRUE(std::isnan(scalar.view().scales[6]));
  EXPECT_EQ(scalar.view().scales[1], 0.0f);
}

}  // namespace
}  // namespace barn
