#include "kernels/cpu/kv_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/formats/half.h"
#include "tests/kernels/float_test_util.h"

namespace barn {
namespace {

// A layer whose memory is full of bytes that no row here has.
struct Cache {
  Cache(KvLayer shape, int64_t blocks) : kv(shape) {
    const int64_t rows = blocks * kv.kv_heads * kv.block_tokens;
    k.assign(rows * kv.k_width * 4, std::byte{0xab});
    v.assign(rows * kv.v_width * 4, std::byte{0xab});
    k_scales.assign(rows * Q8Scales(kv.k_width), 0xabab);
    v_scales.assign(rows * Q8Scales(kv.v_width), 0xabab);
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
  EXPECT_THAT(KvTypeNames(), testing::ElementsAre("f16", "f32", "q8_0"));
  EXPECT_FALSE(ParseKvType("").has_value());
  EXPECT_FALSE(ParseKvType("Q8_0").has_value());
  EXPECT_EQ(KvRowBytes(KvType::kF16, 80), 160);
  EXPECT_EQ(KvRowBytes(KvType::kF32, 80), 320);
  EXPECT_EQ(KvRowBytes(KvType::kQ8_0, 64), 68);
  EXPECT_EQ(KvRowBytes(KvType::kQ8_0, 80), 86);  // Two whole blocks and half a block have a scale each.
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
          Case{KvType::kQ8_0, 81, false}, Case{KvType::kQ8_0, 81, true}, Case{KvType::kF16, 81, true}}) {
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
      const double error = c.type == KvType::kF32 ? 0 : c.type == KvType::kF16 ? 0x1p-11 * 5 : 5.0 / 254 * 1.001;
      for (int64_t head = 0; head < kHeads; ++head) {
        const KvReader reader(FloatKernelsFor(isa), cache.kv, blocks, head);
        std::vector<float> keys(kTokens * 96, -1.0f), values(kTokens * 96, -1.0f);
        reader.Keys(2, kTokens, kTokens, keys.data(), 96);
        reader.Values(2, kTokens, kTokens, values.data(), 96);
        for (int64_t p = 2; p < kTokens; ++p) {
          const float* key = &k[(p * kHeads + head) * c.width];
          const float* value = c.prefix ? key : &v[(p * kHeads + head) * kValueWidth];
          for (int64_t i = 0; i < 96; ++i) {
            // No value here exceeds 5, five deviations.
            ASSERT_NEAR(keys[(p - 2) * 96 + i], i < c.width ? key[i] : 0, i < c.width ? error : 0) << p << ", " << i;
            ASSERT_NEAR(values[(p - 2) * 96 + i], i < kValueWidth ? value[i] : 0, i < kValueWidth ? error : 0)
                << p << ", " << i;
          }
        }
      }
    }
  }
}

std::vector<float> StoreQ8(Isa isa, const std::vector<float>& values, std::vector<int8_t>* codes = nullptr,
                           std::vector<uint16_t>* scales = nullptr) {
  std::vector<int8_t> own_codes(values.size());
  std::vector<uint16_t> own_scales(Q8Scales(static_cast<int64_t>(values.size())));
  const auto n = static_cast<int64_t>(values.size());
  std::vector<float> out(values.size());
  FloatKernelsFor(isa).float_to_q8(values.data(), own_codes.data(), own_scales.data(), n);
  FloatKernelsFor(isa).q8_to_float(own_codes.data(), own_scales.data(), out.data(), n);
  if (codes != nullptr) *codes = own_codes;
  if (scales != nullptr) *scales = own_scales;
  return out;
}

// Half a step of the scale, which was rounded to 11 bits, or in units of 2^-24 where the largest value is below 0.008:
// then the code 127 may fall short of it by 127 half units.
TEST(Q8, ErrorIsHalfAStep) {
  for (const Isa isa : RunnableIsas()) {
    for (const float deviation : {1e-9f, 1e-6f, 1e-4f, 1e-2f, 1.0f, 300.0f, 1e6f}) {
      for (const int64_t width : {1, 31, 32, 33, 256, 579}) {
        std::vector<float> values = RandomFloats(width, static_cast<uint32_t>(width), deviation);
        const std::vector<float> out = StoreQ8(isa, values);
        for (int64_t i = 0; i < width; ++i) {
          float largest = 0;
          for (int64_t j = i / 32 * 32; j < std::min(width, i / 32 * 32 + 32); ++j) {
            largest = std::max(largest, std::fabs(values[j]));
          }
          const double step = largest / 127.0 * (1 + 0x1p-11) + 0x1p-25;
          ASSERT_NEAR(out[i], values[i], step / 2 + 127 * (largest / 127.0 < 0x1p-14 ? 0x1p-25 : 0))
              << IsaName(isa) << ", deviation " << deviation << ", " << i << " of " << width;
        }
      }
    }
  }
}

TEST(Q8, AllInstructionSetsGiveTheSameCodesAndScales) {
  std::vector<float> values = RandomFloats(4099, 5);
  for (int64_t i = 0; i < 4099; ++i) values[i] *= std::exp2(static_cast<float>(i / 32 % 60) - 40);  // Every magnitude.
  std::vector<int8_t> codes, expected_codes;
  std::vector<uint16_t> scales, expected_scales;
  const std::vector<float> expected = StoreQ8(Isa::kScalar, values, &expected_codes, &expected_scales);
  for (const Isa isa : RunnableIsas()) {
    const std::vector<float> out = StoreQ8(isa, values, &codes, &scales);
    EXPECT_EQ(codes, expected_codes) << IsaName(isa);
    EXPECT_EQ(scales, expected_scales) << IsaName(isa);
    EXPECT_EQ(std::memcmp(out.data(), expected.data(), out.size() * sizeof(float)), 0) << IsaName(isa);
  }
}

TEST(Q8, SaturatesAndKeepsNan) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const Isa isa : RunnableIsas()) {
    std::vector<float> values(96, 1.0f);
    values[3] = infinity;
    values[31] = -1e35f;
    values[40] = std::nanf("");
    const std::vector<float> out = StoreQ8(isa, values);
    EXPECT_EQ(out[3], 127 * 65504.0f);
    EXPECT_EQ(out[31], -127 * 65504.0f);
    EXPECT_EQ(out[4], 0.0f);
    for (int i = 32; i < 64; ++i) EXPECT_TRUE(std::isnan(out[i])) << i;
    for (int i = 64; i < 96; ++i) EXPECT_NEAR(out[i], 1.0f, 0x1p-11) << i;
    for (const float zero : StoreQ8(isa, std::vector<float>(64, -0.0f))) EXPECT_EQ(zero, 0.0f);
  }
}

}  // namespace
}  // namespace barn
