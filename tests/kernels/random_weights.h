#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <random>
#include <vector>

#include "kernels/formats/dtype.h"
#include "kernels/formats/half.h"

namespace barn {

constexpr DType kPlainTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

// The formats that meet int8 activations everywhere.
constexpr DType kInt8Types[] = {DType::kQ4_0,    DType::kQ4_1,   DType::kQ5_0,  DType::kQ5_1,    DType::kQ8_0,
                                DType::kQ2_K,    DType::kQ3_K,   DType::kQ4_K,  DType::kQ5_K,    DType::kQ6_K,
                                DType::kIQ4_NL,  DType::kIQ4_XS, DType::kMXFP4, DType::kIQ1_S,   DType::kIQ1_M,
                                DType::kIQ2_XXS, DType::kIQ2_XS, DType::kIQ2_S, DType::kIQ3_XXS, DType::kIQ3_S};

// Those and the ones that do so on a processor.
inline std::vector<DType> CpuInt8Types() {
  std::vector<DType> types(std::begin(kInt8Types), std::end(kInt8Types));
  types.insert(types.end(), {DType::kTQ1_0, DType::kTQ2_0, DType::kNVFP4, DType::kQ1_0, DType::kQ2_0});
  return types;
}

// The f16 scale of IQ1_M is the top nibbles of four words.
inline void PutIq1MScale(uint16_t half, std::byte* block) {
  for (int w = 0; w < 4; ++w) {
    std::byte& top = block[49 + 2 * w];
    top = (top & std::byte{0x0f}) | static_cast<std::byte>((half >> (4 * w) & 15) << 4);
  }
}

// Random weights in any format with int8 products, or F32, F16, BF16: random codes, scales near `magnitude`.
inline std::vector<std::byte> RandomWeights(DType dtype, int64_t rows, int64_t cols, uint32_t seed,
                                            float magnitude = 0.01f) {
  std::mt19937 random(seed);
  std::vector<std::byte> bytes(static_cast<size_t>(rows * RowBytes(dtype, cols)));
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  std::uniform_real_distribution<float> scale(0.5f * magnitude, magnitude);
  const auto half_scale = [&] { return FloatToHalf(random() % 2 == 0 ? scale(random) : -scale(random)); };
  const auto put_half = [&](size_t offset) {
    const uint16_t half = half_scale();
    bytes[offset] = static_cast<std::byte>(half & 255);
    bytes[offset + 1] = static_cast<std::byte>(half >> 8);
  };
  const auto block_bytes = static_cast<size_t>(Info(dtype).block_bytes);
  for (size_t block = 0; block < bytes.size(); block += block_bytes) {
    switch (dtype) {
      case DType::kF32: {
        const float value = scale(random);
        const auto* from = reinterpret_cast<const std::byte*>(&value);
        std::copy_n(from, sizeof(value), bytes.begin() + static_cast<ptrdiff_t>(block));
        break;
      }
      case DType::kBF16:
        bytes[block + 1] = static_cast<std::byte>(random() % 2 == 0 ? 0x3d : 0xbd);
        break;
      case DType::kMXFP4:
        bytes[block] = static_cast<std::byte>(118 + random() % 6);
        break;
      case DType::kQ4_1:
      case DType::kQ5_1:
      case DType::kQ4_K:
      case DType::kQ5_K:
        put_half(block);
        put_half(block + 2);
        break;
      case DType::kIQ1_M:
        PutIq1MScale(half_scale(), &bytes[block]);
        break;
      case DType::kNVFP4:
        for (int i = 0; i < 4; ++i) bytes[block + i] = static_cast<std::byte>(random() % 128);
        break;
      case DType::kTQ1_0:
        put_half(block + 52);
        break;
      case DType::kTQ2_0:
        put_half(block + 64);
        break;
      case DType::kQ2_K:
        put_half(block + 80);
        put_half(block + 82);
        break;
      case DType::kQ3_K:
        put_half(block + 108);
        break;
      case DType::kQ6_K:
        put_half(block + 208);
        break;
      default:
        put_half(block);
        break;  // F16, Q1_0, Q2_0, Q4_0, Q5_0, Q8_0 and the other IQ.
    }
  }
  return bytes;
}

// Normal values with a few outliers, as activations have.
inline std::vector<float> RandomActivations(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(random) * (random() % 61 == 0 ? 20.0f : 1.0f);
  return values;
}

}  // namespace barn
