#include "kernels/cpu/kv_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/formats/decode.h"
#include "kernels/formats/half.h"
#include "tests/kernels/emulated_avx512.h"
#include "tests/kernels/float_test_util.h"

namespace barn {
namespace {

// A layer whose memory is full of bytes that no row here has.
struct Cache {
  Cache(KvLayer shape, int64_t blocks) : kv(shape) {
    const int64_t rows = blocks * kv.kv_heads * kv.block_tokens;
    k.assign(rows * kv.k_width * 4, std::byte{0xab});
    v.assign(rows * kv.v_width * 4, std::byte{0xab});
    k_scales.assign(rows * KvScales(kv.k_width), 0xabab);
    v_scales.assign(rows * KvScales(kv.v_width), 0xabab);
    kv.k = k.data();
    kv.v = kv.v_is_k_prefix ? nullptr : v.data();
    kv.k_scales = k_scales.data();
    kv.v_scales = kv.v_is_k_prefix ? nullptr : v_scales.data();
  }
  Cache(const Cache&) = delete;

  KvLayer kv;
  std::vector<std::byte> k, v;
  std::vector<uint16_t> k_scales, v_scales;
};

TEST(KvType, NamesAndBytes) {
  for (const std::string& name : KvTypeNames()) {
    ASSERT_TRUE(ParseKvType(name).has_value()) << name;
    EXPECT_EQ(KvTypeName(*ParseKvType(name)), name);
  }
  EXPECT_THAT(KvTypeNames(), testing::ElementsAre("f16", "f32", "q8_0", "q4_0"));
  EXPECT_FALSE(ParseKvType("").has_value());
  EXPECT_FALSE(ParseKvType("Q8_0").has_value());
  EXPECT_EQ(KvRowBytes(KvType::kF16, 80), 160);
  EXPECT_EQ(KvRowBytes(KvType::kF32, 80), 320);
  EXPECT_EQ(KvRowBytes(KvType::kQ8_0, 64), 68);
  EXPECT_EQ(KvRowBytes(KvType::kQ8_0, 80), 86);  // Two whole blocks and half a block have a scale each.
  EXPECT_EQ(KvRowBytes(KvType::kQ4_0, 64), 36);
  EXPECT_EQ(KvRowBytes(KvType::kQ4_0, 80), 54);  // Whole blocks of 16 bytes of codes.
  EXPECT_EQ(KvCodeBytes(KvType::kQ4_0, 80), 48);
}

TEST(WriteKvRows, SaturatesHalvesAndKeepsToItsRows) {
  for (const Isa isa : RunnableIsas()) {
    Cache cache({.block_tokens = 2, .kv_heads = 1, .k_width = 16, .v_width = 16}, 2);
    std::vector<float> k(3 * 16, 1e30f);
    std::vector<float> v(3 * 16, -1.5f);
    const std::vector<int32_t> blocks = {1, 0};
    const SequenceRows sequence = {.first_row = 0, .rows = 3, .first_position = 0, .blocks = blocks};
    WriteKvRows(isa, cache.kv, {&sequence, 1}, View(k, 3, 16), View(v, 3, 16), 1, 3);
    const auto* keys = static_cast<const uint16_t*>(cache.kv.k);
    const auto* values = static_cast<const uint16_t*>(cache.kv.v);
    EXPECT_EQ(keys[3 * 16], 0x7bff);  // Row 1: block 1, second token.
    EXPECT_EQ(keys[0], 0x7bff);       // Row 2: block 0, first token.
    EXPECT_EQ(values[15], FloatToHalf(-1.5f));
    EXPECT_EQ(keys[2 * 16], 0xabab);  // Row 0 is outside the range.
    EXPECT_EQ(keys[1 * 16], 0xabab);
  }
}

// Of values up to 5, five deviations. Q4_0 has no code for the opposite of its largest value: a whole step is missing.
double ErrorMax(KvType type) {
  switch (type) {
    case KvType::kF32:
      return 0;
    case KvType::kF16:
      return 0x1p-11 * 5;
    case KvType::kQ8_0:
      return 5.0 / 254 * 1.001;
    case KvType::kQ4_0:
      return 5.0 / 8 * 1.001;
  }
  return 0;
}

TEST(KvReader, GivesBackWhatWasWrittenOfEachHead) {
  struct Case {
    KvType type;
    int64_t width;
    bool prefix;
  };
  constexpr int64_t kTokens = 20, kHeads = 3, kValueWidth = 40;
  for (const Isa isa : RunnableIsas()) {
    for (const Case& c :
         {Case{KvType::kF16, 64, false}, Case{KvType::kF32, 50, false}, Case{KvType::kQ8_0, 64, false},
          Case{KvType::kQ8_0, 81, false}, Case{KvType::kQ8_0, 81, true}, Case{KvType::kF16, 81, true},
          Case{KvType::kQ4_0, 64, false}, Case{KvType::kQ4_0, 81, false}, Case{KvType::kQ4_0, 81, true}}) {
      SCOPED_TRACE(std::string(IsaName(isa)) + " " + std::string(KvTypeName(c.type)) + " " + std::to_string(c.width));
      Cache cache({.type = c.type,
                   .block_tokens = 6,
                   .kv_heads = kHeads,
                   .k_width = c.width,
                   .v_width = kValueWidth,
                   .v_is_k_prefix = c.prefix},
                  8);
      std::vector<float> k = RandomFloats(kTokens * kHeads * c.width, 3);
      std::vector<float> v = RandomFloats(kTokens * kHeads * kValueWidth, 4);
      const std::vector<int32_t> blocks = {6, 0, 3, 7};
      const SequenceRows sequence = {.first_row = 0, .rows = kTokens, .first_position = 0, .blocks = blocks};
      WriteKvRows(isa, cache.kv, {&sequence, 1}, View(k, kTokens, kHeads * c.width),
                  View(v, kTokens, kHeads * kValueWidth), 0, kTokens);
      const double error = ErrorMax(c.type);
      for (int64_t head = 0; head < kHeads; ++head) {
        const KvReader reader(FloatKernelsFor(isa), cache.kv, blocks, head);
        std::vector<float> keys(kTokens * 96, -1.0f), values(kTokens * 96, -1.0f);
        reader.Keys(2, kTokens, kTokens, keys.data(), 96);
        reader.Values(2, kTokens, kTokens, values.data(), 96);
        for (int64_t p = 2; p < kTokens; ++p) {
          const float* key = &k[(p * kHeads + head) * c.width];
          const float* value = c.prefix ? key : &v[(p * kHeads + head) * kValueWidth];
          for (int64_t i = 0; i < 96; ++i) {
            ASSERT_NEAR(keys[(p - 2) * 96 + i], i < c.width ? key[i] : 0, i < c.width ? error : 0) << p << ", " << i;
            ASSERT_NEAR(values[(p - 2) * 96 + i], i < kValueWidth ? value[i] : 0, i < kValueWidth ? error : 0)
                << p << ", " << i;
          }
        }
      }
    }
  }
}

// What this machine runs, and the AVX-512 kernels through SIMDe.
std::vector<std::pair<std::string, const FloatKernels*>> AllKernels() {
  std::vector<std::pair<std::string, const FloatKernels*>> all;
  for (const Isa isa : RunnableIsas()) all.emplace_back(IsaName(isa), &FloatKernelsFor(isa));
  if (IsaSupported(Isa::kAvx2)) all.emplace_back("emulated avx512", &EmulatedAvx512FloatKernels());
  return all;
}

// Codes and scales of a row, and the values that they stand for.
struct Stored {
  std::vector<uint8_t> codes;
  std::vector<uint16_t> scales;
  std::vector<float> values;
};

Stored Store(const FloatKernels& kernels, KvType type, const std::vector<float>& values) {
  const auto n = static_cast<int64_t>(values.size());
  Stored stored;
  stored.codes.resize(KvCodeBytes(type, n));
  stored.scales.resize(KvScales(n));
  stored.values.resize(n);
  if (type == KvType::kQ4_0) {
    kernels.float_to_q4(values.data(), stored.codes.data(), stored.scales.data(), n);
    kernels.q4_to_float(stored.codes.data(), stored.scales.data(), stored.values.data(), n);
  } else {
    auto* codes = reinterpret_cast<int8_t*>(stored.codes.data());
    kernels.float_to_q8(values.data(), codes, stored.scales.data(), n);
    kernels.q8_to_float(codes, stored.scales.data(), stored.values.data(), n);
  }
  return stored;
}

constexpr KvType kCodes[] = {KvType::kQ8_0, KvType::kQ4_0};

// The value of largest magnitude of the block of 32 that holds i; of +-m the negative one.
float Extreme(const std::vector<float>& values, size_t i) {
  float extreme = 0;
  for (size_t j = i / 32 * 32; j < std::min(values.size(), i / 32 * 32 + 32); ++j) {
    const float longer = std::fabs(values[j]) - std::fabs(extreme);
    if (longer > 0 || (longer == 0 && values[j] < 0)) extreme = values[j];
  }
  return extreme;
}

// Half a step, or what is missing of a value at the end: the scale was rounded to 11 bits, or to units of 2^-24 below
// 2^-14, and is taken up to `codes` times. Q4_0 ends at 7 steps on the side where its largest value is not.
double Allowed(KvType type, float value, float extreme) {
  const double codes = type == KvType::kQ8_0 ? 127 : 8;
  const double step = std::fabs(extreme) / codes;
  const double scale_error = step < 0x1p-14 ? 0x1p-25 : step * 0x1p-11;
  const bool opposite = type == KvType::kQ4_0 && std::signbit(value) != std::signbit(extreme);
  const double beyond = opposite ? std::fabs(value) - 7 * step : 0;
  const double slack = 1 + 1e-5;  // Values are multiplied by the inverse of the scale, in f32.
  return std::max({(step + scale_error) / 2, codes * scale_error, beyond + 7 * scale_error}) * slack;
}

TEST(KvCodes, ErrorIsHalfAStep) {
  for (const auto& [name, kernels] : AllKernels()) {
    for (const KvType type : kCodes) {
      for (const float deviation : {1e-9f, 1e-6f, 1e-4f, 1e-2f, 1.0f, 300.0f, 6e4f}) {
        for (const int64_t width : {1, 31, 32, 33, 256, 579}) {
          const std::vector<float> values = RandomFloats(width, static_cast<uint32_t>(width), deviation);
          const std::vector<float> out = Store(*kernels, type, values).values;
          for (size_t i = 0; i < values.size(); ++i) {
            ASSERT_NEAR(out[i], values[i], Allowed(type, values[i], Extreme(values, i)))
                << name << ", " << KvTypeName(type) << ", deviation " << deviation << ", " << i << " of " << width;
          }
        }
      }
    }
  }
}

TEST(KvCodes, AllInstructionSetsGiveTheSameCodesAndScales) {
  std::vector<float> values = RandomFloats(4099, 5);
  for (int64_t i = 0; i < 4099; ++i) values[i] *= std::exp2(static_cast<float>(i / 32 % 60) - 40);  // Every magnitude.
  values[64] = -(values[65] = 3.0f);  // A block with both +-m.
  for (const KvType type : kCodes) {
    const Stored expected = Store(FloatKernelsFor(Isa::kScalar), type, values);
    for (const auto& [name, kernels] : AllKernels()) {
      const Stored stored = Store(*kernels, type, values);
      EXPECT_EQ(stored.codes, expected.codes) << name;
      EXPECT_EQ(stored.scales, expected.scales) << name;
      EXPECT_EQ(std::memcmp(stored.values.data(), expected.values.data(), 4099 * sizeof(float)), 0) << name;
    }
  }
}

TEST(KvCodes, SaturateAndKeepNan) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const auto& [name, kernels] : AllKernels()) {
    for (const KvType type : kCodes) {
      SCOPED_TRACE(name + ", " + std::string(KvTypeName(type)));
      const float most = type == KvType::kQ8_0 ? 127 * 65504.0f : 8 * 65504.0f;
      std::vector<float> values(96, 1.0f);
      values[3] = infinity;
      values[31] = -1e35f;
      values[40] = std::nanf("");
      const std::vector<float> out = Store(*kernels, type, values).values;
      EXPECT_EQ(out[3], type == KvType::kQ8_0 ? most : most / 8 * 7);
      EXPECT_EQ(out[31], -most);
      EXPECT_EQ(out[4], 0.0f);
      for (int i = 32; i < 64; ++i) EXPECT_TRUE(std::isnan(out[i])) << i;
      for (int i = 64; i < 96; ++i) EXPECT_NEAR(out[i], 1.0f, 0x1p-11) << i;
      for (const float zero : Store(*kernels, type, std::vector<float>(64, -0.0f)).values) EXPECT_EQ(zero, 0.0f);
    }
  }
}

// GGUF's layout: the decoder of weights in Q4_0 reads it.
TEST(KvCodes, Q4BlocksAreThoseOfTheFormat) {
  std::vector<float> values(40);
  for (int i = 0; i < 40; ++i) values[i] = static_cast<float>(i % 16 - 8);  // All codes, the extreme -8.
  values[17] = 0;
  const Stored stored = Store(FloatKernelsFor(Isa::kScalar), KvType::kQ4_0, values);
  EXPECT_EQ(stored.values, values);
  EXPECT_EQ(stored.scales[0], FloatToHalf(1.0f));
  std::vector<std::byte> block(18 * 2);
  for (int b = 0; b < 2; ++b) {
    std::memcpy(&block[18 * b], &stored.scales[b], 2);
    std::memcpy(&block[18 * b + 2], &stored.codes[16 * b], 16);
  }
  std::vector<float> decoded(64);
  DecodeRow(DType::kQ4_0, block.data(), decoded.data(), 64);
  values.resize(64);
  EXPECT_EQ(decoded, values);
  EXPECT_EQ(Store(FloatKernelsFor(Isa::kScalar), KvType::kQ4_0, {1, 8}).scales[0], FloatToHalf(-1.0f));
}

// Rows that lie apart; products with them where they lie have the bits of converting them first.
TEST(KvCodes, ReadInPlaceTheyHaveTheBitsOfConvertedRows) {
  constexpr int64_t kRows = 24, kWidth = 96, kQueries = 4;
  const std::vector<float> q = RandomFloats(kQueries * kWidth, 8), weights = RandomFloats(kQueries * kRows, 9);
  for (const auto& [name, kernels] : AllKernels()) {
    for (const KvType type : kCodes) {
      std::vector<Stored> rows;
      std::vector<const void*> codes;
      std::vector<const uint16_t*> scales;
      std::vector<float> converted;
      for (int64_t r = 0; r < kRows; ++r) {
        rows.push_back(Store(*kernels, type, RandomFloats(kWidth, 20 + r)));
        codes.push_back(rows.back().codes.data());
        scales.push_back(rows.back().scales.data());
        converted.insert(converted.end(), rows.back().values.begin(), rows.back().values.end());
      }
      const bool nibbles = type == KvType::kQ4_0;
      for (int64_t m = 1; m <= kQueries; ++m) {
        SCOPED_TRACE(name + ", " + std::string(KvTypeName(type)) + ", " + std::to_string(m));
        std::vector<float> want(m * kRows), got(m * kRows), want_sums(m * kWidth, 0.5f), got_sums(want_sums);
        kernels->scores(q.data(), m, converted.data(), kRows, kWidth, want.data(), kRows);
        (nibbles ? kernels->scores_q4 : kernels->scores_q8)(q.data(), m, {codes.data(), scales.data()}, kRows, kWidth,
                                                            got.data(), kRows);
        EXPECT_EQ(std::memcmp(got.data(), want.data(), want.size() * sizeof(float)), 0);
        kernels->weighted_sum(weights.data(), kRows, m, converted.data(), kRows, kWidth, want_sums.data());
        (nibbles ? kernels->weighted_sum_q4 : kernels->weighted_sum_q8)(
            weights.data(), kRows, m, {codes.data(), scales.data()}, kRows, kWidth, got_sums.data());
        EXPECT_EQ(std::memcmp(got_sums.data(), want_sums.data(), want_sums.size() * sizeof(float)), 0);
      }
    }
  }
}

}  // namespace
}  // namespace barn
