#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu/cpu_device.h"
#include "kernels/formats/decode.h"
#include "tests/kernels/random_weights.h"

namespace barn {
namespace {

constexpr int64_t kExperts = 7, kTokens = 11, kUsed = 3, kWidth = 256, kHidden = 256;

// A routed layer of random weights, and its plain computation in f64.
struct Layer {
  explicit Layer(DType up_type, DType down_type)
      : up_type(up_type),
        down_type(down_type),
        gate_up(RandomWeights(up_type, kExperts * 2 * kHidden, kWidth, 1, 0.002f)),
        down(RandomWeights(down_type, kExperts * kWidth, kHidden, 2, 0.002f)),
        gate_bias(RandomActivations(kExperts * kHidden, 3)),
        up_bias(RandomActivations(kExperts * kHidden, 4)),
        down_bias(RandomActivations(kExperts * kWidth, 5)),
        x(RandomActivations(kTokens * kWidth, 6)) {
    std::mt19937 random(7);
    for (int64_t t = 0; t < kTokens; ++t) {
      // Experts 2 and 5 stay unused; token 4 has an empty place.
      const int32_t order[] = {0, 1, 3, 4, 6};
      const auto first = static_cast<int64_t>(random() % 5);
      for (int64_t j = 0; j < kUsed; ++j) {
        experts.push_back(t == 4 && j == 1 ? -1 : order[(first + j) % 5]);
        weights.push_back(0.1f + 0.3f * static_cast<float>(j + t % 3));
      }
    }
  }

  // The rows of one expert's gate or up matrix; the fused tensor holds gate rows first.
  std::vector<std::byte> Separate(bool up) const {
    const auto half = static_cast<size_t>(kHidden * RowBytes(up_type, kWidth));
    std::vector<std::byte> bytes;
    for (int64_t e = 0; e < kExperts; ++e) {
      const auto from = gate_up.begin() + static_cast<ptrdiff_t>((2 * e + (up ? 1 : 0)) * half);
      bytes.insert(bytes.end(), from, from + static_cast<ptrdiff_t>(half));
    }
    return bytes;
  }

  std::vector<float> Run(Device& device, bool fused, bool scale_input, int64_t first, int64_t tokens) const {
    const auto gate_bytes = Separate(false), up_bytes = Separate(true);
    const MatrixShape shape = {.count = kExperts, .rows = kHidden, .cols = kWidth};
    const auto gate = device.Upload(up_type, shape, gate_bytes).value();
    const auto up = device.Upload(up_type, shape, up_bytes).value();
    const auto both = device.Upload(up_type, {.count = kExperts, .rows = 2 * kHidden, .cols = kWidth}, gate_up).value();
    const auto down_matrix =
        device.Upload(down_type, {.count = kExperts, .rows = kWidth, .cols = kHidden}, down).value();
    ExpertMatrices matrices = {.gate = gate.get(),
                               .up = up.get(),
                               .down = down_matrix.get(),
                               .gate_bias = gate_bias.data(),
                               .up_bias = up_bias.data(),
                               .down_bias = down_bias.data(),
                               .weight_scales_input = scale_input};
    if (fused) {
      matrices.gate = matrices.up = nullptr;
      matrices.gate_up = both.get();
    }
    std::vector<float> out(tokens * kWidth, NAN);
    device.RoutedFfn(matrices,
                     {.k = kUsed,
                      .experts = std::span(experts).subspan(first * kUsed, tokens * kUsed),
                      .weights = std::span(weights).subspan(first * kUsed, tokens * kUsed)},
                     {const_cast<float*>(x.data()) + first * kWidth, tokens, kWidth, kWidth},
                     {out.data(), tokens, kWidth, kWidth});
    return out;
  }

  std::vector<double> Product(DType dtype, const std::vector<std::byte>& bytes, int64_t row, int64_t rows,
                              const std::vector<double>& v, const float* bias) const {
    std::vector<double> out(rows);
    std::vector<float> weight(v.size());
    for (int64_t r = 0; r < rows; ++r) {
      const auto cols = static_cast<int64_t>(v.size());
      DecodeRow(dtype, bytes.data() + (row + r) * RowBytes(dtype, cols), weight.data(), cols);
      out[r] = bias[r];
      for (size_t k = 0; k < v.size(); ++k) out[r] += static_cast<double>(weight[k]) * v[k];
    }
    return out;
  }

  std::vector<double> Expected(int64_t t, bool scale_input) const {
    std::vector<double> sum(kWidth, 0.0);
    for (int64_t j = 0; j < kUsed; ++j) {
      const int64_t e = experts[t * kUsed + j];
      if (e < 0) continue;
      const double weight = weights[t * kUsed + j];
      std::vector<double> v(x.begin() + t * kWidth, x.begin() + (t + 1) * kWidth);
      for (double& value : v) value *= scale_input ? weight : 1.0;
      std::vector<double> gate = Product(up_type, gate_up, 2 * e * kHidden, kHidden, v, &gate_bias[e * kHidden]);
      const std::vector<double> up =
          Product(up_type, gate_up, (2 * e + 1) * kHidden, kHidden, v, &up_bias[e * kHidden]);
      for (int64_t i = 0; i < kHidden; ++i) gate[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
      const std::vector<double> result = Product(down_type, down, e * kWidth, kWidth, gate, &down_bias[e * kWidth]);
      for (int64_t i = 0; i < kWidth; ++i) sum[i] += (scale_input ? 1.0 : weight) * result[i];
    }
    return sum;
  }

  DType up_type, down_type;
  std::vector<std::byte> gate_up, down;
  std::vector<float> gate_bias, up_bias, down_bias, x;
  std::vector<int32_t> experts;
  std::vector<float> weights;
};

Isa BestIsa() { return IsaSupported(Isa::kAvx2) ? Isa::kAvx2 : Isa::kScalar; }

TEST(RoutedFfn, MeetsThePlainComputation) {
  for (const DType up_type : {DType::kQ4_K, DType::kMXFP4, DType::kF16}) {
    const Layer layer(up_type, up_type == DType::kQ4_K ? DType::kQ6_K : up_type);
    for (const ActivationMode mode : {ActivationMode::kF32, ActivationMode::kInt8}) {
      for (const bool scale_input : {false, true}) {
        CpuDevice device({.threads = 2, .pin = false}, mode, BestIsa());
        const std::vector<float> out = layer.Run(device, true, scale_input, 0, kTokens);
        for (int64_t t = 0; t < kTokens; ++t) {
          const std::vector<double> expected = layer.Expected(t, scale_input);
          double norm = 0, error = 0;
          for (int64_t i = 0; i < kWidth; ++i) {
            norm += expected[i] * expected[i];
            error += (out[t * kWidth + i] - expected[i]) * (out[t * kWidth + i] - expected[i]);
          }
          // Rounding to 8 bits errs by about 1 / (127 * sqrt(12)) of a block's peak, three times over.
          const bool exact = mode == ActivationMode::kF32 || up_type == DType::kF16;
          EXPECT_LT(std::sqrt(error / norm), exact ? 2e-5 : 0.03)
              << Info(up_type).name << ", token " << t << ", " << device.Describe();
        }
      }
    }
  }
}

TEST(RoutedFfn, SameBitsAloneFusedAndOnAnyThreads) {
  for (const ActivationMode mode : {ActivationMode::kF32, ActivationMode::kInt8}) {
    for (const Isa isa : kIsas) {
      if (!IsaSupported(isa)) continue;
      const Layer layer(DType::kQ4_K, DType::kQ5_K);
      CpuDevice one({.threads = 1}, mode, isa), three({.threads = 3, .pin = false}, mode, isa);
      for (const bool scale_input : {false, true}) {
        const std::vector<float> all = layer.Run(three, false, scale_input, 0, kTokens);
        const std::vector<float> fused = layer.Run(one, true, scale_input, 0, kTokens);
        ASSERT_EQ(std::memcmp(all.data(), fused.data(), all.size() * sizeof(float)), 0);
        for (int64_t t = 0; t < kTokens; ++t) {
          const std::vector<float> alone = layer.Run(t % 2 == 0 ? one : three, t % 3 == 0, scale_input, t, 1);
          ASSERT_EQ(std::memcmp(alone.data(), all.data() + t * kWidth, kWidth * sizeof(float)), 0) << t;
        }
      }
    }
  }
}

// On first use an expert is repacked, once, and the device says which bytes it no longer needs; others stay untouched.
TEST(RoutedFfn, ExpertsAreRepackedWhenTheyAreFirstUsed) {
  const int64_t experts = 5, width = 256, hidden = 256;
  const std::vector<std::byte> bytes = RandomWeights(DType::kQ4_K, experts * hidden, width, 1);
  const MatrixShape shape = {.count = experts, .rows = hidden, .cols = width};
  const std::vector<float> x = RandomActivations(2 * width, 2);
  std::vector<float> out(2 * width), borrowed_out(2 * width);
  for (const Isa isa : kIsas) {
    if (isa == Isa::kScalar || !IsaSupported(isa)) continue;  // Scalar kernels repack nothing.
    CpuDevice device({.threads = 2, .pin = false}, ActivationMode::kInt8, isa);
    std::vector<int64_t> copied;  // Experts, by where their bytes begin.
    const auto note = [&](std::span<const std::byte> part) {
      EXPECT_EQ(part.size(), bytes.size() / experts);
      copied.push_back((part.data() - bytes.data()) / static_cast<ptrdiff_t>(part.size()));
    };
    const auto run = [&](MatrixUse use, std::vector<float>& result) {
      const auto gate = device.Upload(DType::kQ4_K, shape, bytes, use, nullptr).value();
      const auto up = device.Upload(DType::kQ4_K, shape, bytes, use, note).value();
      const auto down = device.Upload(DType::kQ4_K, shape, bytes, use, nullptr).value();
      for (const auto& chosen : {std::vector<int32_t>{1, 3, 3, 1}, std::vector<int32_t>{3, 4, 1, -1}}) {
        const std::vector<float> weights(chosen.size(), 0.5f);
        device.RoutedFfn({.gate = gate.get(), .up = up.get(), .down = down.get()},
                         {.k = 2, .experts = chosen, .weights = weights},
                         {const_cast<float*>(x.data()), 2, width, width}, {result.data(), 2, width, width});
      }
    };
    run(MatrixUse::kExperts, out);
    EXPECT_EQ(copied, (std::vector<int64_t>{1, 3, 4})) << device.Describe();
    copied.clear();
    run(MatrixUse::kBorrowed, borrowed_out);
    EXPECT_TRUE(copied.empty());
    EXPECT_EQ(out, borrowed_out);
  }
}

TEST(RoutedFfn, OnlyRoutedExpertsAreRead) {
  const Layer layer(DType::kQ4_K, DType::kQ6_K);
  const int64_t expert_bytes = 2 * kHidden * RowBytes(DType::kQ4_K, kWidth) + kWidth * RowBytes(DType::kQ6_K, kHidden);
  for (const bool fused : {false, true}) {
    CpuDevice device({.threads = 2, .pin = false}, ActivationMode::kInt8, BestIsa());
    layer.Run(device, fused, false, 0, 1);
    EXPECT_EQ(device.counters().expert_bytes_read, kUsed * expert_bytes);
    EXPECT_EQ(device.counters().experts_read, 3 * kUsed);
    layer.Run(device, fused, false, 0, kTokens);  // Five of the seven, each once.
    EXPECT_EQ(device.counters().expert_bytes_read, (kUsed + 5) * expert_bytes);
    layer.Run(device, fused, false, 4, 1);  // One place is empty.
    EXPECT_EQ(device.counters().expert_bytes_read, (kUsed + 5 + kUsed - 1) * expert_bytes);
    EXPECT_EQ(device.counters().matmul_bytes_read, 0);
  }
}

}  // namespace
}  // namespace barn
