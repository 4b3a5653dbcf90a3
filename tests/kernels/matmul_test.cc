#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu/cpu_device.h"
#include "kernels/formats/decode.h"
#include "tests/kernels/emulated_avx512.h"
#include "tests/kernels/quant_oracle.h"
#include "tests/kernels/random_weights.h"

namespace barn {
namespace {

struct NamedKernels {
  const char* name;
  const KernelTable& table;
};

// The instruction sets that this machine can run, and AVX-512 in emulation.
std::vector<NamedKernels> AllKernels() {
  std::vector<NamedKernels> all = {{"scalar", ScalarKernels()}};
  if (IsaSupported(Isa::kAvx2)) {
    all.push_back({"avx2", Avx2Kernels()});
    all.push_back({"emulated avx512", EmulatedAvx512Kernels()});
  }
  if (IsaSupported(Isa::kAvx512)) all.push_back({"avx512", Avx512Kernels()});
  return all;
}

// For one format also AVX-512 with VBMI, which is a path of its own for some and the table of AVX-512 for the others.
std::vector<NamedKernels> AllKernelsOf(DType dtype) {
  std::vector<NamedKernels> all = AllKernels();
  const auto add = [&](const char* name, const KernelTable& vbmi, const KernelTable& avx512) {
    const auto id = static_cast<size_t>(dtype);
    if (vbmi.packed[id].product != avx512.packed[id].product) all.push_back({name, vbmi});
  };
  if (IsaSupported(Isa::kAvx2)) add("emulated avx512_vbmi", EmulatedAvx512VbmiKernels(), EmulatedAvx512Kernels());
  if (IsaSupported(Isa::kAvx512Vbmi)) add("avx512_vbmi", Avx512VbmiKernels(), Avx512Kernels());
  return all;
}

// A weight of random bytes (at an odd address, as in a mapped file) and random activations.
struct Problem {
  Problem(DType dtype, int64_t rows, int64_t cols, int64_t tokens, uint32_t seed)
      : dtype(dtype), rows(rows), cols(cols), tokens(tokens), x(RandomActivations(tokens * cols, seed + 1)) {
    weights.resize(1);
    const std::vector<std::byte> random = RandomWeights(dtype, rows, cols, seed);
    weights.insert(weights.end(), random.begin(), random.end());
    bias = RandomActivations(rows, seed + 2);
  }

  std::vector<float> Multiply(const KernelTable& kernels, ActivationMode mode, const std::vector<int32_t>& index,
                              bool packed = false) const {
    const auto matrix =
        CpuMatrix::Create(dtype, {.rows = rows, .cols = cols}, std::span(weights).subspan(1), kernels, mode);
    EXPECT_TRUE(matrix.ok()) << matrix.status();
    if (packed) {
      EXPECT_TRUE((*matrix)->ReservePanels(PageSize::kSmall, nullptr).ok());
      (*matrix)->PackPanels(0, 0, (*matrix)->PanelsToPack(0));
      if ((*matrix)->PanelsToPack(0) > 0) (*matrix)->FinishPacking(0);
    }
    QuantizedRows quantized;
    if ((*matrix)->uses_int8()) {
      quantized.Resize(tokens, cols, (*matrix)->scale_span());
      for (int64_t t = 0; t < tokens; ++t) quantized.Quantize(kernels, t, x.data() + t * cols);
    }
    if ((*matrix)->uses_int8() && kernels.make_tiles != nullptr) {
      const int64_t count = index.empty() ? tokens : static_cast<int64_t>(index.size());
      quantized.ResizeTiles(count);
      quantized.MakeTiles(kernels, 0, count, index.empty() ? nullptr : index.data(), 0);
    }
    const CpuMatrix::Input input = {
        .x = {.data = const_cast<float*>(x.data()), .rows = tokens, .cols = cols, .stride = cols},
        .quantized = (*matrix)->uses_int8() ? quantized.view(0, 0) : QuantizedView{},
        .index = index.empty() ? nullptr : index.data(),
        .tokens = index.empty() ? tokens : static_cast<int64_t>(index.size())};
    std::vector<float> out(static_cast<size_t>(input.tokens * rows), NAN);
    Scratch scratch;
    (*matrix)->Multiply(kernels, 0, 0, rows, input, out.data(), rows, bias.data(), scratch);
    return out;
  }

  DType dtype;
  int64_t rows, cols, tokens;
  std::vector<std::byte> weights;
  std::vector<float> x;
  std::vector<float> bias;
};

// What an int8 product must give: decoded weights times rounded activations, in f64.
void ExpectInt8Product(const Problem& p, const std::vector<float>& out) {
  std::vector<float> weight(static_cast<size_t>(p.cols));
  QuantizedRows quantized;
  quantized.Resize(p.tokens, p.cols, ScalarKernels().scale_span[static_cast<size_t>(p.dtype)]);
  for (int64_t t = 0; t < p.tokens; ++t) quantized.Quantize(ScalarKernels(), t, p.x.data() + t * p.cols);
  const QuantizedView x = quantized.view();
  for (int64_t r = 0; r < p.rows; ++r) {
    DecodeRow(p.dtype, p.weights.data() + 1 + r * RowBytes(p.dtype, p.cols), weight.data(), p.cols);
    double largest_weight = 0;
    for (float w : weight) largest_weight = std::max(largest_weight, std::abs(static_cast<double>(w)));
    for (int64_t t = 0; t < p.tokens; ++t) {
      double sum = p.bias[r], magnitude = std::abs(p.bias[r]);
      for (int64_t k = 0; k < p.cols; ++k) {
        const double value =
            static_cast<double>(x.codes[t * 32 * x.padded_blocks + k]) * x.scales[t * x.padded_blocks + k / 32];
        sum += weight[k] * value;
        // The code and the min part of a weight are each below three times the largest weight of a random row.
        magnitude += 3 * largest_weight * std::abs(value);
      }
      // Roundings in a row: those of the scales, and two per block.
      const double roundings = 8 + 2 * std::ceil(p.cols / 32.0);
      ASSERT_NEAR(out[t * p.rows + r], sum, roundings * 0x1p-24 * magnitude) << "row " << r << ", token " << t;
    }
  }
}

TEST(MatMul, Int8ProductsMeetTheDecodedWeightsAndAgreeBitForBit) {
  for (const DType dtype : CpuInt8Types()) {
    const int64_t block = Info(dtype).block_elements;
    for (const int64_t cols : {block, 3 * block, 20 * block}) {
      for (const int64_t rows : {1, 7, 19, 40}) {
        for (const int64_t tokens : {1, 2, 3, 5, 9, 19}) {
          const Problem problem(dtype, rows, cols, tokens, static_cast<uint32_t>(rows * cols + tokens));
          const std::vector<float> reference = problem.Multiply(ScalarKernels(), ActivationMode::kInt8, {});
          SCOPED_TRACE(testing::Message() << Info(dtype).name << ", " << rows << " x " << cols << ", " << tokens);
          ASSERT_NO_FATAL_FAILURE(ExpectInt8Product(problem, reference));
          for (const NamedKernels& kernels : AllKernelsOf(dtype)) {
            SCOPED_TRACE(kernels.name);
            for (const bool packed : {false, true}) {
              const std::vector<float> out = problem.Multiply(kernels.table, ActivationMode::kInt8, {}, packed);
              ASSERT_EQ(std::memcmp(out.data(), reference.data(), out.size() * sizeof(float)), 0) << packed;
            }
          }
        }
      }
    }
  }
}

TEST(MatMul, ExtremeCodesDoNotOverflow) {
  for (const DType dtype : CpuInt8Types()) {
    for (const int fill : {0x00, 0x7f, 0x80, 0xff}) {
      Problem problem(dtype, 16, 512, 8, 1);
      // Every byte that is not a half or an exponent becomes the same extreme.
      const auto block_bytes = static_cast<size_t>(Info(dtype).block_bytes);
      const size_t scale_begin = dtype == DType::kQ2_K    ? 80
                                 : dtype == DType::kQ3_K  ? 108
                                 : dtype == DType::kQ6_K  ? 208
                                 : dtype == DType::kTQ1_0 ? 52
                                 : dtype == DType::kTQ2_0 ? 64
                                                          : 0;
      const bool two = dtype == DType::kQ4_1 || dtype == DType::kQ5_1 || dtype == DType::kQ4_K ||
                       dtype == DType::kQ5_K || dtype == DType::kQ2_K;
      const size_t scale_end = scale_begin + (dtype == DType::kMXFP4 ? 1 : two || dtype == DType::kNVFP4 ? 4 : 2);
      for (size_t i = 1; i < problem.weights.size(); ++i) {
        const size_t at = (i - 1) % block_bytes;
        if (at < scale_begin || at >= scale_end) problem.weights[i] = static_cast<std::byte>(fill);
        if (dtype == DType::kIQ1_M && at + 1 == block_bytes) {
          PutIq1MScale(FloatToHalf(0.01f), &problem.weights[i + 1 - block_bytes]);
        }
      }
      for (size_t i = 0; i < problem.x.size(); ++i) problem.x[i] = i / 512 % 2 == 0 ? 1.0f : i % 3 == 0 ? -1.0f : 1.0f;
      SCOPED_TRACE(testing::Message() << Info(dtype).name << " filled with " << fill);
      const std::vector<float> reference = problem.Multiply(ScalarKernels(), ActivationMode::kInt8, {});
      for (const NamedKernels& kernels : AllKernelsOf(dtype)) {
        SCOPED_TRACE(kernels.name);
        for (const bool packed : {false, true}) {
          const std::vector<float> out = problem.Multiply(kernels.table, ActivationMode::kInt8, {}, packed);
          ASSERT_EQ(std::memcmp(out.data(), reference.data(), out.size() * sizeof(float)), 0) << packed;
        }
      }
    }
  }
}

TEST(MatMul, IndexedTokensAreThoseRows) {
  const std::vector<int32_t> index = {4, 0, 6, 6, 2, 1, 5, 3, 0};
  for (const DType dtype : {DType::kQ4_K, DType::kQ8_0, DType::kQ6_K, DType::kF16}) {
    const Problem problem(dtype, 33, 512, 7, 5);
    for (const NamedKernels& kernels : AllKernels()) {
      SCOPED_TRACE(kernels.name);
      const std::vector<float> all = problem.Multiply(kernels.table, ActivationMode::kInt8, {});
      for (const bool packed : {false, true}) {
        const std::vector<float> some = problem.Multiply(kernels.table, ActivationMode::kInt8, index, packed);
        for (size_t i = 0; i < index.size(); ++i) {
          ASSERT_EQ(std::memcmp(&some[i * 33], &all[index[i] * 33], 33 * sizeof(float)), 0) << i;
        }
      }
    }
  }
}

TEST(MatMul, FloatProductsMeetF64AndAgreeBitForBit) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ4_K, DType::kQ5_0, DType::kMXFP4}) {
    const bool plain = Info(dtype).block_elements == 1;
    for (const int64_t cols : {plain ? 1 : 256, plain ? 47 : 512, 1024}) {
      for (const int64_t tokens : {1, 4, 7}) {
        const Problem p(dtype, 11, cols, tokens, static_cast<uint32_t>(cols));
        SCOPED_TRACE(testing::Message() << Info(dtype).name << ", " << cols << " columns, " << tokens << " tokens");
        const std::vector<float> reference = p.Multiply(ScalarKernels(), ActivationMode::kF32, {});
        std::vector<float> weight(static_cast<size_t>(cols));
        for (int64_t r = 0; r < p.rows; ++r) {
          DecodeRow(dtype, p.weights.data() + 1 + r * RowBytes(dtype, cols), weight.data(), cols);
          for (int64_t t = 0; t < tokens; ++t) {
            double sum = p.bias[r], magnitude = std::abs(p.bias[r]);
            for (int64_t k = 0; k < cols; ++k) {
              const double term = static_cast<double>(weight[k]) * p.x[t * cols + k];
              sum += term;
              magnitude += std::abs(term);
            }
            ASSERT_NEAR(reference[t * p.rows + r], sum, (std::ceil(cols / 16.0) + 6) * 0x1p-24 * magnitude);
          }
        }
        for (const NamedKernels& kernels : AllKernels()) {
          SCOPED_TRACE(kernels.name);
          const std::vector<float> out = p.Multiply(kernels.table, ActivationMode::kF32, {});
          ASSERT_EQ(std::memcmp(out.data(), reference.data(), out.size() * sizeof(float)), 0);
        }
      }
    }
  }
}

TEST(MatMul, NanAndInfinityInActivationsShowInTheResult) {
  for (const NamedKernels& kernels : AllKernels()) {
    for (const float bad : {NAN, INFINITY, -INFINITY}) {
      Problem problem(DType::kQ4_K, 9, 256, 1, 3);
      problem.x[70] = bad;
      for (const float y : problem.Multiply(kernels.table, ActivationMode::kInt8, {})) {
        EXPECT_FALSE(std::isfinite(y)) << kernels.name << ", " << bad;
      }
    }
  }
}

// The matvec values of oracles/quant within its README's limits, through the device, for every type and both modes.
TEST(MatMul, OracleMatVec) {
  const QuantOracle oracle;
  std::vector<float> x = oracle.Floats("x");
  x.resize(512);
  for (const Isa isa : kIsas) {
    if (!IsaSupported(isa)) continue;
    for (const ActivationMode mode : {ActivationMode::kInt8, ActivationMode::kF32}) {
      CpuDevice device({.threads = 2, .pin = false}, mode, isa);
      for (const auto& [name, facts] : oracle.types().items()) {
        SCOPED_TRACE(testing::Message() << name << ", " << device.Describe());
        const DType dtype = FindDType(facts.at("ggml_type"))->dtype;
        const auto bytes = oracle.tensors().at(name).bytes.first(static_cast<size_t>(8 * RowBytes(dtype, 512)));
        const auto matrix = device.Upload(dtype, {.rows = 8, .cols = 512}, bytes);
        ASSERT_TRUE(matrix.ok()) << matrix.status();
        float out[8];
        const Projection projection = {.weight = matrix->get(), .bias = nullptr, .out = {out, 1, 8, 8}};
        device.MatMul({&projection, 1}, {x.data(), 1, 512, 512});
        const std::vector<float> weights = oracle.Floats(name + ".dequant");
        const double limit = mode == ActivationMode::kInt8 ? 0.01 : 1e-5;
        for (int r = 0; r < 8; ++r) {
          double magnitude = 0;
          for (int c = 0; c < 512; ++c) magnitude += std::abs(static_cast<double>(weights[r * 512 + c]) * x[c]);
          EXPECT_NEAR(out[r], facts.at("matvec").at(r).get<double>(), limit * magnitude) << "row " << r;
        }
      }
    }
  }
}

// A matrix of which a product asks for rows that begin and end within panels.
void ExpectAnyRangeOfRows(DType dtype) {
  const Problem p(dtype, 75, 512, 5, 9);
  for (const NamedKernels& kernels : AllKernelsOf(dtype)) {
    SCOPED_TRACE(testing::Message() << kernels.name << ", " << Info(dtype).name);
    const auto matrix = CpuMatrix::Create(p.dtype, {.rows = p.rows, .cols = p.cols}, std::span(p.weights).subspan(1),
                                          kernels.table, ActivationMode::kInt8);
    ASSERT_TRUE((*matrix)->ReservePanels(PageSize::kHuge, nullptr).ok());
    const int64_t panels = (*matrix)->PanelsToPack(0);
    ASSERT_EQ(panels, kernels.table.panel_rows == 0 ? 0 : p.rows / static_cast<int64_t>(kernels.table.panel_rows));
    (*matrix)->PackPanels(0, 0, panels);
    if (panels > 0) (*matrix)->FinishPacking(0);
    const std::vector<float> all = p.Multiply(ScalarKernels(), ActivationMode::kInt8, {});
    QuantizedRows quantized;
    quantized.Resize(p.tokens, p.cols, (*matrix)->scale_span());
    for (int64_t t = 0; t < p.tokens; ++t) quantized.Quantize(kernels.table, t, p.x.data() + t * p.cols);
    if (kernels.table.make_tiles != nullptr) {
      quantized.ResizeTiles(p.tokens);
      quantized.MakeTiles(kernels.table, 0, p.tokens, nullptr, 0);
    }
    Scratch scratch;
    for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 75}, {3, 14}, {3, 16}, {15, 49}, {16, 75}}) {
      std::vector<float> out(static_cast<size_t>(p.tokens * (end - begin)));
      (*matrix)->Multiply(kernels.table, 0, begin, end, {.quantized = quantized.view(0, 0), .tokens = p.tokens},
                          out.data(), end - begin, p.bias.data() + begin, scratch);
      for (int64_t t = 0; t < p.tokens; ++t) {
        ASSERT_EQ(std::memcmp(&out[t * (end - begin)], &all[t * p.rows + begin], (end - begin) * sizeof(float)), 0)
            << begin << " to " << end << ", token " << t;
      }
    }
  }
}

TEST(MatMul, AnyRangeOfRowsOfAPackedMatrix) {
  for (const DType dtype : {DType::kQ4_K, DType::kIQ2_XS}) ASSERT_NO_FATAL_FAILURE(ExpectAnyRangeOfRows(dtype));
}

// A worker's memory is its slice: six-bit scales that become bytes, or seven bits of signs that become eight, cost 6 %;
// the shared scales of Q2_0 and NVFP4 11 %.
TEST(MatMul, PanelsTakeLittleMoreThanTheFile) {
  for (const NamedKernels& kernels : AllKernels()) {
    for (const DType dtype : CpuInt8Types()) {
      const PackedFormat& packed = kernels.table.packed[static_cast<size_t>(dtype)];
      if (packed.panel_bytes == nullptr) continue;
      SCOPED_TRACE(testing::Message() << kernels.name << ", " << Info(dtype).name);
      const double file = static_cast<double>(kernels.table.panel_rows) * static_cast<double>(RowBytes(dtype, 2048));
      const double limit = dtype == DType::kQ2_0 || dtype == DType::kNVFP4 ? 1.12 : 1.065;
      EXPECT_LE(static_cast<double>(packed.panel_bytes(64)), limit * file);
      EXPECT_LE(packed.panel_bytes(64), PanelBytesMax(64));
    }
  }
}

TEST(MatMul, UploadTellsWhichBytesItHasCopied) {
  for (const Isa isa : kIsas) {
    if (!IsaSupported(isa)) continue;
    CpuDevice device({.threads = 2, .pin = false}, ActivationMode::kInt8, isa);
    const std::vector<std::byte> bytes = RandomWeights(DType::kQ4_K, 40, 256, 3);
    std::span<const std::byte> copied;
    const auto note = [&](std::span<const std::byte> part) { copied = part; };
    for (const MatrixUse use : {MatrixUse::kProducts, MatrixUse::kRows, MatrixUse::kBorrowed}) {
      copied = {};
      ASSERT_TRUE(device.Upload(DType::kQ4_K, {.rows = 40, .cols = 256}, bytes, use, note).ok());
      const size_t rows = isa == Isa::kScalar || use != MatrixUse::kProducts ? 0 : isa == Isa::kAvx2 ? 40 : 32;
      EXPECT_EQ(copied.size(), rows * 144) << IsaName(isa);
      if (rows > 0) {
        EXPECT_EQ(copied.data(), bytes.data());
      }
    }
  }
}

TEST(MatMul, UploadRefusesBytesThatAreNotTheShape) {
  CpuDevice device({.threads = 1}, ActivationMode::kInt8, Isa::kScalar);
  const std::vector<std::byte> bytes(144 * 4);
  EXPECT_TRUE(device.Upload(DType::kQ4_K, {.rows = 4, .cols = 256}, bytes).ok());
  for (const MatrixShape shape : {MatrixShape{1, 3, 256}, MatrixShape{1, 4, 255}, MatrixShape{0, 4, 256},
                                  MatrixShape{-1, -4, 256}, MatrixShape{1ll << 40, 1ll << 40, 256}}) {
    EXPECT_EQ(device.Upload(DType::kQ4_K, shape, bytes).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(CreateCpuDevice, EnvironmentChoosesAndUnknownWordsAreRefused) {
  setenv("BARN_CPU_ISA", "scalar", 1);
  setenv("BARN_ACTIVATIONS", "f32", 1);
  const auto device = CreateCpuDevice({.threads = 3});
  ASSERT_TRUE(device.ok()) << device.status();
  EXPECT_EQ((*device)->Describe(), "cpu scalar, 3 threads, f32 activations");
  setenv("BARN_CPU_ISA", "mmx", 1);
  EXPECT_EQ(CreateCpuDevice({}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(CreateCpuDevice({}).status().message().find("mmx"), std::string::npos);
  if (!IsaSupported(Isa::kAvx512)) {
    setenv("BARN_CPU_ISA", "avx512", 1);
    EXPECT_EQ(CreateCpuDevice({}).status().code(), absl::StatusCode::kInvalidArgument);
  }
  unsetenv("BARN_CPU_ISA");
  setenv("BARN_ACTIVATIONS", "int4", 1);
  EXPECT_NE(CreateCpuDevice({}).status().message().find("int4"), std::string::npos);
  unsetenv("BARN_ACTIVATIONS");
  EXPECT_FALSE(CreateCpuDevice({.threads = -1}).ok());
}

}  // namespace
}  // namespace barn
