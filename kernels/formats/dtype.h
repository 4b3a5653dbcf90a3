#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace barn {

// Element types of a tensor. The values are the type ids of a GGUF file.
enum class DType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ8_1 = 9,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kQ8_K = 15,
  kIQ2_XXS = 16,
  kIQ2_XS = 17,
  kIQ3_XXS = 18,
  kIQ1_S = 19,
  kIQ4_NL = 20,
  kIQ3_S = 21,
  kIQ2_S = 22,
  kIQ4_XS = 23,
  kI8 = 24,
  kI16 = 25,
  kI32 = 26,
  kI64 = 27,
  kF64 = 28,
  kIQ1_M = 29,
  kBF16 = 30,
  kTQ1_0 = 34,
  kTQ2_0 = 35,
  kMXFP4 = 39,
  kNVFP4 = 40,
  kQ1_0 = 41,
  kQ2_0 = 42,
};

// A row is stored as blocks of block_elements values in block_bytes bytes; a block never crosses rows.
struct DTypeInfo {
  DType dtype;
  const char* name;
  int64_t block_elements;
  int64_t block_bytes;
};

// Null when the id is unknown or was removed from GGUF.
const DTypeInfo* FindDType(uint32_t gguf_id);
// Null when unknown. Names are upper case, as in file names: "Q4_K".
const DTypeInfo* FindDTypeByName(std::string_view name);
const DTypeInfo& Info(DType dtype);

// Why FindDType refuses an id, in words for the user: "type 4 (Q4_2), which was removed from GGUF".
std::string DescribeUnknownDType(uint32_t gguf_id);

// Bytes of one row of cols values; cols is a multiple of the block and small enough that the product fits.
int64_t RowBytes(DType dtype, int64_t cols);

}  // namespace barn
