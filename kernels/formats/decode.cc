#include "kernels/formats/decode.h"

#include <cstring>

#include "kernels/check.h"
#include "kernels/formats/decode_block.h"
#include "kernels/formats/half.h"

namespace barn {
namespace {

template <class Block>
void DecodeBlocks(const std::byte* row, float* out, int64_t blocks, int64_t block_elements) {
  static_assert(alignof(Block) == 1);  // Rows may start anywhere in a mapped file.
  const Block* block = reinterpret_cast<const Block*>(row);
  for (int64_t i = 0; i < blocks; ++i) DecodeBlock(block[i], out + i * block_elements);
}

template <class Stored, class Convert>
void DecodeScalars(const std::byte* row, float* out, int64_t cols, Convert convert) {
  for (int64_t i = 0; i < cols; ++i) {
    Stored value;
    std::memcpy(&value, row + i * sizeof(Stored), sizeof(Stored));
    out[i] = convert(value);
  }
}

template <class Stored>
void DecodeNumbers(const std::byte* row, float* out, int64_t cols) {
  DecodeScalars<Stored>(row, out, cols, [](Stored value) { return static_cast<float>(value); });
}

}  // namespace

void DecodeRow(DType dtype, const std::byte* row, float* out, int64_t cols) {
  const int64_t elements = Info(dtype).block_elements;
  BARN_CHECK(cols % elements == 0);
  const int64_t blocks = cols / elements;
  switch (dtype) {
    case DType::kF32:
      std::memcpy(out, row, cols * sizeof(float));
      return;
    case DType::kF16:
      return DecodeScalars<uint16_t>(row, out, cols, HalfToFloat);
    case DType::kBF16:
      return DecodeScalars<uint16_t>(row, out, cols, Bf16ToFloat);
    case DType::kF64:
      return DecodeNumbers<double>(row, out, cols);
    case DType::kI8:
      return DecodeNumbers<int8_t>(row, out, cols);
    case DType::kI16:
      return DecodeNumbers<int16_t>(row, out, cols);
    case DType::kI32:
      return DecodeNumbers<int32_t>(row, out, cols);
    case DType::kI64:
      return DecodeNumbers<int64_t>(row, out, cols);
    case DType::kQ4_0:
      return DecodeBlocks<BlockQ4_0>(row, out, blocks, elements);
    case DType::kQ4_1:
      return DecodeBlocks<BlockQ4_1>(row, out, blocks, elements);
    case DType::kQ5_0:
      return DecodeBlocks<BlockQ5_0>(row, out, blocks, elements);
    case DType::kQ5_1:
      return DecodeBlocks<BlockQ5_1>(row, out, blocks, elements);
    case DType::kQ8_0:
      return DecodeBlocks<BlockQ8_0>(row, out, blocks, elements);
    case DType::kQ8_1:
      return DecodeBlocks<BlockQ8_1>(row, out, blocks, elements);
    case DType::kQ2_K:
      return DecodeBlocks<BlockQ2_K>(row, out, blocks, elements);
    case DType::kQ3_K:
      return DecodeBlocks<BlockQ3_K>(row, out, blocks, elements);
    case DType::kQ4_K:
      return DecodeBlocks<BlockQ4_K>(row, out, blocks, elements);
    case DType::kQ5_K:
      return DecodeBlocks<BlockQ5_K>(row, out, blocks, elements);
    case DType::kQ6_K:
      return DecodeBlocks<BlockQ6_K>(row, out, blocks, elements);
    case DType::kQ8_K:
      return DecodeBlocks<BlockQ8_K>(row, out, blocks, elements);
    case DType::kIQ2_XXS:
      return DecodeBlocks<BlockIQ2_XXS>(row, out, blocks, elements);
    case DType::kIQ2_XS:
      return DecodeBlocks<BlockIQ2_XS>(row, out, blocks, elements);
    case DType::kIQ2_S:
      return DecodeBlocks<BlockIQ2_S>(row, out, blocks, elements);
    case DType::kIQ3_XXS:
      return DecodeBlocks<BlockIQ3_XXS>(row, out, blocks, elements);
    case DType::kIQ3_S:
      return DecodeBlocks<BlockIQ3_S>(row, out, blocks, elements);
    case DType::kIQ1_S:
      return DecodeBlocks<BlockIQ1_S>(row, out, blocks, elements);
    case DType::kIQ1_M:
      return DecodeBlocks<BlockIQ1_M>(row, out, blocks, elements);
    case DType::kIQ4_NL:
      return DecodeBlocks<BlockIQ4_NL>(row, out, blocks, elements);
    case DType::kIQ4_XS:
      return DecodeBlocks<BlockIQ4_XS>(row, out, blocks, elements);
    case DType::kTQ1_0:
      return DecodeBlocks<BlockTQ1_0>(row, out, blocks, elements);
    case DType::kTQ2_0:
      return DecodeBlocks<BlockTQ2_0>(row, out, blocks, elements);
    case DType::kMXFP4:
      return DecodeBlocks<BlockMXFP4>(row, out, blocks, elements);
    case DType::kNVFP4:
      return DecodeBlocks<BlockNVFP4>(row, out, blocks, elements);
    case DType::kQ1_0:
      return DecodeBlocks<BlockQ1_0>(row, out, blocks, elements);
    case DType::kQ2_0:
      return DecodeBlocks<BlockQ2_0>(row, out, blocks, elements);
  }
}

}  // namespace barn
