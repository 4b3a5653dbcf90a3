#include "kernels/formats/decode.h"

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/formats/blocks.h"
#include "kernels/formats/half.h"
#include "tests/kernels/quant_oracle.h"

namespace barn {
namespace {

constexpr int64_t kRows = 8;
constexpr int64_t kCols = 512;

// Decodes a tensor of the oracle row by row, from an odd address, as a row may have in a mapped file.
std::vector<float> Decode(DType dtype, std::span<const std::byte> bytes) {
  const int64_t row_bytes = RowBytes(dtype, kCols);
  std::vector<std::byte> shifted(row_bytes + 1);
  std::vector<float> out(kRows * kCols);
  for (int64_t r = 0; r < kRows; ++r) {
    std::memcpy(shifted.data() + 1, bytes.data() + r * row_bytes, row_bytes);
    DecodeRow(dtype, shifted.data() + 1, out.data() + r * kCols, kCols);
  }
  return out;
}

TEST(Decode, EveryTypeMatchesTheOracleBitForBit) {
  const QuantOracle oracle;
  int compared = 0;
  for (const auto& [name, entry] : oracle.tensors()) {
    if (!oracle.tensors().contains(name + ".dequant")) continue;
    SCOPED_TRACE(name);
    const DTypeInfo* info = FindDType(entry.type);
    ASSERT_NE(info, nullptr);
    EXPECT_EQ(name.substr(0, name.find('.')), info->name);
    ASSERT_GE(static_cast<int64_t>(entry.bytes.size()), kRows * RowBytes(info->dtype, kCols));
    const std::vector<float> actual = Decode(info->dtype, entry.bytes);
    const std::vector<float> expected = oracle.Floats(name + ".dequant");
    ASSERT_GE(static_cast<int64_t>(expected.size()), kRows * kCols);
    for (int64_t i = 0; i < kRows * kCols; ++i) {
      ASSERT_EQ(actual[i], expected[i]) << "row " << i / kCols << ", column " << i % kCols;
    }
    ++compared;
  }
  EXPECT_EQ(compared, static_cast<int>(oracle.types().size()));
}

TEST(Decode, MatVecOfDecodedRowsMatchesTheOracle) {
  const QuantOracle oracle;
  const std::vector<float> x = oracle.Floats("x");
  for (const auto& [name, facts] : oracle.types().items()) {
    SCOPED_TRACE(name);
    const DTypeInfo* info = FindDType(facts.at("ggml_type"));
    ASSERT_NE(info, nullptr);
    EXPECT_EQ(info->block_elements, facts.at("block_size"));
    EXPECT_EQ(info->block_bytes, facts.at("block_bytes"));
    const std::vector<float> weights = Decode(info->dtype, oracle.tensors().at(name).bytes);
    for (int64_t r = 0; r < kRows; ++r) {
      double sum = 0;
      double magnitude = 0;
      for (int64_t c = 0; c < kCols; ++c) {
        const double term = static_cast<double>(weights[r * kCols + c]) * x[c];
        sum += term;
        magnitude += std::abs(term);
      }
      EXPECT_NEAR(sum, facts.at("matvec").at(r).get<double>(), 1e-12 * magnitude) << "row " << r;
    }
  }
}

TEST(Decode, PlainNumbersAndActivationTypes) {
  const int16_t shorts[] = {-32768, 0, 7};
  const int64_t longs[] = {-5, 1ll << 40, 3};
  const double doubles[] = {0.1, -2.5, 1e10};
  float out[256];
  DecodeRow(DType::kI16, reinterpret_cast<const std::byte*>(shorts), out, 3);
  EXPECT_EQ(out[0], -32768.0f);
  EXPECT_EQ(out[2], 7.0f);
  DecodeRow(DType::kI64, reinterpret_cast<const std::byte*>(longs), out, 3);
  EXPECT_EQ(out[1], 0x1p40f);
  DecodeRow(DType::kF64, reinterpret_cast<const std::byte*>(doubles), out, 3);
  EXPECT_EQ(out[0], 0.1f);

  BlockQ8_1 q8_1{.d = FloatToHalf(0.5f), .s = 0, .qs = {-128, 3}};
  DecodeRow(DType::kQ8_1, reinterpret_cast<const std::byte*>(&q8_1), out, 32);
  EXPECT_EQ(out[0], -64.0f);
  EXPECT_EQ(out[1], 1.5f);
  BlockQ8_K q8_k{.d = 0.1f, .qs = {10}, .bsums = {}};
  q8_k.qs[255] = -3;
  DecodeRow(DType::kQ8_K, reinterpret_cast<const std::byte*>(&q8_k), out, 256);
  EXPECT_EQ(out[0], 0.1f * 10);
  EXPECT_EQ(out[255], 0.1f * -3);
}

TEST(Half, EveryHalfRoundTripsAndEveryMidpointRoundsToEven) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const uint16_t half = static_cast<uint16_t>(bits);
    const float value = HalfToFloat(half);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(HalfToFloat(FloatToHalf(value))));
      continue;
    }
    ASSERT_EQ(FloatToHalf(value), half);
    const uint32_t magnitude = bits & 0x7fff;
    const double expected = magnitude >= 0x7c00 ? INFINITY
                            : magnitude < 0x400
                                ? magnitude * 0x1p-24
                                : std::ldexp(1024 + magnitude % 1024, static_cast<int>(magnitude / 1024) - 25);
    ASSERT_EQ(std::abs(value), expected);
    if (magnitude >= 0x7bff) continue;
    const double next = std::abs(HalfToFloat(static_cast<uint16_t>(magnitude + 1)));
    const float middle = static_cast<float>((expected + next) / 2);  // Exact: one bit more than a half.
    const uint32_t even = magnitude % 2 == 0 ? magnitude : magnitude + 1;
    ASSERT_EQ(FloatToHalf(middle), even);
    ASSERT_EQ(FloatToHalf(std::nextafter(middle, INFINITY)), magnitude + 1);
    ASSERT_EQ(FloatToHalf(std::nextafter(middle, 0.0f)), magnitude);
  }
  EXPECT_EQ(FloatToHalf(65519.0f), 0x7bff);
  EXPECT_EQ(FloatToHalf(65520.0f), 0x7c00);
}

TEST(Half, Bf16RoundsToNearestEven) {
  EXPECT_EQ(FloatToBf16(1.0f), 0x3f80);
  EXPECT_EQ(FloatToBf16(std::bit_cast<float>(0x3f808000u)), 0x3f80);
  EXPECT_EQ(FloatToBf16(std::bit_cast<float>(0x3f818000u)), 0x3f82);
  EXPECT_TRUE(std::isnan(Bf16ToFloat(FloatToBf16(NAN))));
}

TEST(DType, UnknownTypesAreNamed) {
  EXPECT_EQ(FindDType(4), nullptr);
  EXPECT_EQ(FindDType(43), nullptr);
  EXPECT_EQ(DescribeUnknownDType(4), "type 4 (Q4_2), which was removed from GGUF");
  EXPECT_NE(DescribeUnknownDType(137).find("ik_llama.cpp"), std::string::npos);
  EXPECT_EQ(DescribeUnknownDType(77), "type 77, which is not a known GGUF type");
  EXPECT_EQ(FindDTypeByName("IQ4_XS")->dtype, DType::kIQ4_XS);
  EXPECT_EQ(FindDTypeByName("Q4_K_M"), nullptr);
}

}  // namespace
}  // namespace barn
