#include "kernels/cuda/gpu_device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "kernels/formats/decode.h"
#include "tests/kernels/cuda/on_device.h"
#include "tests/kernels/random_weights.h"

namespace barn {
namespace {

constexpr int64_t kMemory = int64_t{16} << 20;

std::unique_ptr<GpuDevice> MakeGpu(int64_t bytes = kMemory) {
  auto device = GpuDevice::Create({.memory_bytes = bytes});
  EXPECT_TRUE(device.ok()) << device.status();
  return *std::move(device);
}

std::vector<float> Decoded(DType dtype, int64_t rows, int64_t cols, std::span<const std::byte> bytes) {
  std::vector<float> values(static_cast<size_t>(rows * cols));
  for (int64_t r = 0; r < rows; ++r) {
    DecodeRow(dtype, bytes.data() + r * RowBytes(dtype, cols), values.data() + r * cols, cols);
  }
  return values;
}

// As int8 activations stand for them.
std::vector<double> Rounded(const std::vector<float>& x, bool int8) {
  std::vector<double> values(x.begin(), x.end());
  for (size_t unit = 0; int8 && unit < x.size(); unit += 32) {
    float largest = 0;
    for (size_t i = 0; i < 32; ++i) largest = std::max(largest, std::abs(x[unit + i]));
    const float inverse = largest == 0 ? 0 : 127.0f / largest;
    for (size_t i = 0; i < 32; ++i) values[unit + i] = largest / 127.0f * std::nearbyintf(x[unit + i] * inverse);
  }
  return values;
}

// w[row] . x
double Dot(const std::vector<float>& w, int64_t row, const double* x, int64_t cols) {
  double sum = 0;
  for (int64_t k = 0; k < cols; ++k) sum += w[static_cast<size_t>(row * cols + k)] * x[k];
  return sum;
}

void ExpectClose(const std::vector<float>& got, const std::vector<double>& want, double share) {
  ASSERT_EQ(got.size(), want.size());
  double largest = 0;
  for (const double value : want) largest = std::max(largest, std::abs(value));
  for (size_t i = 0; i < got.size(); ++i) ASSERT_LE(std::abs(got[i] - want[i]), share * largest) << i;
}

TEST(DeviceArena, PiecesGrowTogetherAgain) {
  auto arena = DeviceArena::Create(1024 + 100);
  ASSERT_TRUE(arena.ok());
  EXPECT_EQ((*arena)->bytes(), 1024);
  std::byte* a = *(*arena)->Allocate(1);
  std::byte* b = *(*arena)->Allocate(257);
  std::byte* c = *(*arena)->Allocate(0);
  EXPECT_EQ(b - a, 256);
  EXPECT_EQ(c - b, 512);
  EXPECT_EQ((*arena)->free_bytes(), 0);
  const auto none = (*arena)->Allocate(1);
  EXPECT_EQ(none.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(none.status().message()), testing::HasSubstr("1 bytes wanted, 0 of 1024 are free"));
  for (const auto& order : std::vector<std::vector<int>>{{0, 1, 2}, {2, 1, 0}, {0, 2, 1}}) {
    std::byte* pieces[] = {a, b, c};
    for (const int i : order) (*arena)->Free(pieces[i]);
    EXPECT_EQ(*(*arena)->Allocate(1024), a);
    (*arena)->Free(a);
    a = *(*arena)->Allocate(1), b = *(*arena)->Allocate(257), c = *(*arena)->Allocate(0);
  }
  (*arena)->Free(nullptr);
}

TEST(GpuDevice, RefusesWhatIsNotThere) {
  EXPECT_EQ(GpuDevice::Create({.index = 2}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(GpuDevice::Create({.memory_bytes = int64_t{1} << 50}).status().code(),
            absl::StatusCode::kResourceExhausted);
  const auto gpu = MakeGpu(1 << 20);
  const std::vector<std::byte> bytes = RandomWeights(DType::kQ8_0, 4, 64, 1);
  const auto wrong = gpu->Upload(DType::kQ8_0, {.rows = 5, .cols = 64}, bytes);
  EXPECT_EQ(wrong.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(gpu->Allocate(1 << 20).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(gpu->Allocate(int64_t{1} << 62).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(gpu->status().ok());
}

TEST(GpuDevice, MemoryComesBack) {
  const auto gpu = MakeGpu(1 << 20);
  const std::vector<std::byte> bytes = RandomWeights(DType::kQ8_0, 1024, 256, 1);
  for (int i = 0; i < 8; ++i) {  // 8 x 272 KiB and more, one after the other.
    const auto matrix = gpu->Upload(DType::kQ8_0, {.rows = 1024, .cols = 256}, bytes);
    ASSERT_TRUE(matrix.ok()) << matrix.status();
    const auto buffer = gpu->Allocate(100000);
    ASSERT_TRUE(buffer.ok()) << buffer.status();
  }
}

TEST(GpuDevice, OutOfMemoryOnTheWayIsAStatus) {
  const auto gpu = MakeGpu(800 << 10);
  const std::vector<std::byte> bytes = RandomWeights(DType::kQ8_0, 4, 4096, 1);
  const auto matrix = gpu->Upload(DType::kQ8_0, {.rows = 4, .cols = 4096}, bytes);
  ASSERT_TRUE(matrix.ok());
  const auto x = gpu->Allocate(40 * 4096);
  ASSERT_TRUE(x.ok());
  const OnDevice out(*gpu, 40, 4);
  const Projection projection[] = {{matrix->get(), nullptr, out.tensor}};
  ASSERT_TRUE(gpu->status().ok());
  gpu->MatMul(projection, {.data = (*x)->data(), .rows = 40, .cols = 4096, .stride = 4096});  // 160 KiB of codes.
  EXPECT_EQ(gpu->status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(out.Values(), std::vector<float>(160, 0.0f));
}

TEST(GpuDevice, HostReadsStridedRows) {
  const auto gpu = MakeGpu();
  std::vector<float> values(5 * 12);
  std::iota(values.begin(), values.end(), 0.0f);
  const OnDevice x(*gpu, values, 5);
  const Tensor part = {.data = x.tensor.data + 3, .rows = 5, .cols = 4, .stride = 12};
  const Tensor host = gpu->ToHost(part);
  ASSERT_EQ(host.stride, 4);
  for (int64_t r = 0; r < 5; ++r) {
    for (int64_t c = 0; c < 4; ++c) EXPECT_EQ(host.row(r)[c], static_cast<float>(12 * r + 3 + c));
  }
  gpu->CopyFromHost(std::vector<float>(20, -5.0f), part);
  for (int64_t i = 0; i < 60; ++i) {
    const bool inside = i % 12 >= 3 && i % 12 < 7;
    EXPECT_EQ(x.Values()[static_cast<size_t>(i)], inside ? -5.0f : static_cast<float>(i));
  }
}

bool IsInt8(DType dtype) { return Info(dtype).block_elements > 1; }

void ExpectProducts(DType dtype, int64_t tokens) {
  SCOPED_TRACE(std::string(Info(dtype).name) + ", " + std::to_string(tokens) + " tokens");
  constexpr int64_t kRows = 10, kCols = 256, kHeads = 3;
  const std::vector<std::byte> bytes = RandomWeights(dtype, kRows, kCols, 1);
  const std::vector<std::byte> head_bytes = RandomWeights(dtype, kHeads * kRows, kCols, 2);
  const std::vector<float> x = RandomActivations(tokens * kCols, 3);
  const std::vector<float> head_x = RandomActivations(tokens * kHeads * kCols, 4);
  const std::vector<float> bias = RandomActivations(kRows, 5);
  const auto gpu = MakeGpu();
  const auto matrix = *gpu->Upload(dtype, {.rows = kRows, .cols = kCols}, bytes);
  const auto batched = *gpu->Upload(dtype, {.count = kHeads, .rows = kRows, .cols = kCols}, head_bytes);
  const OnDevice on_x(*gpu, x, tokens), on_heads(*gpu, head_x, tokens), on_bias(*gpu, bias, 1);
  const OnDevice out(*gpu, tokens, kRows), head_out(*gpu, tokens, kHeads * kRows);
  const Projection projection[] = {{matrix.get(), on_bias.tensor.data, out.tensor}};
  gpu->MatMul(projection, on_x.tensor);
  gpu->BatchedMatMul(*batched, on_heads.tensor, head_out.tensor);
  const std::vector<float> w = Decoded(dtype, kRows, kCols, bytes);
  const std::vector<float> head_w = Decoded(dtype, kHeads * kRows, kCols, head_bytes);
  const std::vector<double> values = Rounded(x, IsInt8(dtype)), head_values = Rounded(head_x, IsInt8(dtype));
  std::vector<double> want, want_heads;
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t r = 0; r < kRows; ++r) {
      want.push_back(Dot(w, r, values.data() + t * kCols, kCols) + bias[static_cast<size_t>(r)]);
    }
    for (int64_t r = 0; r < kHeads * kRows; ++r) {
      want_heads.push_back(Dot(head_w, r, head_values.data() + (t * kHeads + r / kRows) * kCols, kCols));
    }
  }
  ExpectClose(out.Values(), want, 2e-5);
  ExpectClose(head_out.Values(), want_heads, 2e-5);
  EXPECT_TRUE(gpu->status().ok()) << gpu->status();
}

TEST(GpuDevice, ProductsMatchExactArithmetic) {
  for (const DType dtype : {DType::kQ4_0, DType::kQ6_K, DType::kIQ3_S, DType::kF32, DType::kBF16}) {
    for (const int64_t tokens : {1, 8, 9, 21}) ExpectProducts(dtype, tokens);
  }
}

struct FfnCase {
  bool fused = false, biases = false, scales_input = false;
  int64_t tokens = 5;  // A multiple.
  DType dtype = DType::kQ8_0;
};

void ExpectFfn(const FfnCase& c) {
  SCOPED_TRACE(std::to_string(c.tokens) + (c.fused ? " fused" : "") + (c.scales_input ? " scales input" : ""));
  constexpr int64_t kExperts = 4, kFf = 64, kWidth = 96, kEach = 3;
  const std::vector<int32_t> some = {0, 1, 2, 3, -1, 0, 1, 1, -1, -1, -1, -1, 2, 0, 1};
  std::vector<int32_t> experts;
  while (static_cast<int64_t>(experts.size()) < c.tokens * kEach) {
    experts.insert(experts.end(), some.begin(), some.end());
  }
  const int64_t gate_rows = c.fused ? 2 * kFf : kFf;
  const std::vector<float> weights = RandomActivations(c.tokens * kEach, 1),
                           x = RandomActivations(c.tokens * kWidth, 2);
  const std::vector<std::byte> gate = RandomWeights(c.dtype, kExperts * gate_rows, kWidth, 3);
  const std::vector<std::byte> up = RandomWeights(c.dtype, kExperts * kFf, kWidth, 4);
  const std::vector<std::byte> down = RandomWeights(c.dtype, kExperts * kWidth, kFf, 5);
  const std::vector<float> gate_bias = RandomActivations(kExperts * kFf, 6),
                           up_bias = RandomActivations(kExperts * kFf, 7);
  const std::vector<float> down_bias = RandomActivations(kExperts * kWidth, 8);
  const auto gpu = MakeGpu();
  const auto on_gate = *gpu->Upload(c.dtype, {.count = kExperts, .rows = gate_rows, .cols = kWidth}, gate);
  const auto on_up = *gpu->Upload(c.dtype, {.count = kExperts, .rows = kFf, .cols = kWidth}, up);
  const auto on_down = *gpu->Upload(c.dtype, {.count = kExperts, .rows = kWidth, .cols = kFf}, down);
  const OnDevice on_gate_bias(*gpu, gate_bias, 1), on_up_bias(*gpu, up_bias, 1), on_down_bias(*gpu, down_bias, 1);
  const OnDevice on_x(*gpu, x, c.tokens), out(*gpu, c.tokens, kWidth);
  ExpertMatrices matrices;
  (c.fused ? matrices.gate_up : matrices.gate) = on_gate.get();
  if (!c.fused) matrices.up = on_up.get();
  matrices.down = on_down.get();
  if (c.biases) {
    matrices.gate_bias = on_gate_bias.tensor.data;
    matrices.up_bias = on_up_bias.tensor.data;
    matrices.down_bias = on_down_bias.tensor.data;
  }
  matrices.weight_scales_input = c.scales_input;
  gpu->RoutedFfn(matrices, {.k = kEach, .experts = experts, .weights = weights}, on_x.tensor, out.tensor);

  const std::vector<float> gate_w = Decoded(c.dtype, kExperts * gate_rows, kWidth, gate);
  const std::vector<float> up_w = Decoded(c.dtype, kExperts * kFf, kWidth, up);
  const std::vector<float> down_w = Decoded(c.dtype, kExperts * kWidth, kFf, down);
  std::vector<double> want(static_cast<size_t>(c.tokens * kWidth));
  for (size_t p = 0; p < experts.size(); ++p) {
    const int64_t e = experts[p];
    if (e < 0) continue;
    const auto t = static_cast<int64_t>(p) / kEach;
    std::vector<float> input(x.begin() + t * kWidth, x.begin() + (t + 1) * kWidth);
    for (float& value : input) value *= c.scales_input ? weights[p] : 1.0f;
    const std::vector<double> row = Rounded(input, IsInt8(c.dtype));
    std::vector<float> hidden;
    for (int64_t f = 0; f < kFf; ++f) {
      double g = Dot(gate_w, e * gate_rows + f, row.data(), kWidth);
      double u = c.fused ? Dot(gate_w, e * gate_rows + kFf + f, row.data(), kWidth)
                         : Dot(up_w, e * kFf + f, row.data(), kWidth);
      if (c.biases) g += gate_bias[static_cast<size_t>(e * kFf + f)], u += up_bias[static_cast<size_t>(e * kFf + f)];
      hidden.push_back(static_cast<float>(g / (1 + std::exp(-g)) * u));
    }
    const std::vector<double> rounded = Rounded(hidden, IsInt8(c.dtype));
    for (int64_t r = 0; r < kWidth; ++r) {
      double value = Dot(down_w, e * kWidth + r, rounded.data(), kFf);
      if (c.biases) value += down_bias[static_cast<size_t>(e * kWidth + r)];
      want[static_cast<size_t>(t * kWidth + r)] += value * (c.scales_input ? 1.0f : weights[p]);
    }
  }
  // A hidden value may be rounded to the next of 127 steps where sums differ in their last bits.
  ExpectClose(out.Values(), want, IsInt8(c.dtype) ? 1e-2 : 2e-5);
  EXPECT_EQ(gpu->counters().experts_read, 12);
  EXPECT_TRUE(gpu->status().ok()) << gpu->status();
}

TEST(GpuDevice, RoutedExpertsMatchExactArithmetic) {
  for (const DType dtype : {DType::kQ8_0, DType::kF16}) {
    ExpectFfn({.dtype = dtype});
    ExpectFfn({.biases = true, .dtype = dtype});
    ExpectFfn({.scales_input = true, .dtype = dtype});
    ExpectFfn({.fused = true, .biases = true, .dtype = dtype});
    ExpectFfn({.biases = true, .tokens = 15, .dtype = dtype});
    ExpectFfn({.fused = true, .biases = true, .scales_input = true, .tokens = 15, .dtype = dtype});
  }
}

TEST(GpuDevice, RanksLogitsOfTheHostAndOfTheDevice) {
  const auto gpu = MakeGpu();
  for (const int64_t count : {0, 1, 20, 512, 600, 5000}) {
    for (const bool on_device : {false, true}) {
      std::vector<float> logits = RandomActivations(3000, 9);
      logits[7] = -INFINITY;
      logits[1000] = logits[1001];
      std::vector<int32_t> order(logits.size());
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
        return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)];
      });
      double sum = 0;
      for (const float logit : logits) sum += std::exp(double{logit});
      const OnDevice there(*gpu, logits, 1);
      LogitRanking got[] = {{.logits = logits, .count = count}, {.logits = std::span(logits).first(11), .count = 1}};
      if (on_device) got[0].logits = {there.tensor.data, logits.size()};
      gpu->RankLogits(got);
      ASSERT_TRUE(gpu->status().ok()) << gpu->status();
      ASSERT_EQ(static_cast<int64_t>(got[0].best.size()), std::min<int64_t>(count, 3000));
      for (size_t j = 0; j < got[0].best.size(); ++j) ASSERT_EQ(got[0].best[j].id, order[j]) << j;
      EXPECT_EQ(got[0].largest, logits[static_cast<size_t>(order[0])]);
      EXPECT_NEAR(got[0].logsumexp, std::log(sum), 1e-6);
      ASSERT_EQ(got[1].best.size(), 1u);
      EXPECT_EQ(got[1].best[0].logit, *std::max_element(logits.begin(), logits.begin() + 11));
    }
  }
}

}  // namespace
}  // namespace barn
