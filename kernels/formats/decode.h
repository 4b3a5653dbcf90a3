#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/formats/dtype.h"

namespace barn {

// Decodes one row to f32, bit for bit as GGUF defines it. row: RowBytes(dtype, cols) bytes, any alignment; out:
// f32[cols]; cols is a multiple of the type's block. Integer types and F64 are converted to the nearest f32.
void DecodeRow(DType dtype, const std::byte* row, float* out, int64_t cols);

}  // namespace barn
