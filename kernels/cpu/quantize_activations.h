#pragma once

#include <cstdint>

#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/memory.h"

namespace barn {

// Rows of activations as int8 with one f32 scale per 32 values. Deterministic: a row's codes depend on that row alone
// and are the same on every instruction set. The memory is reused from call to call.
class QuantizedRows {
 public:
  // Room for `rows` rows of `cols` values, a multiple of 32. Drops what was there.
  void Resize(int64_t rows, int64_t cols);

  // Rounds x, f32[cols], into `row`. Different rows may be written by different threads.
  void Quantize(const KernelTable& kernels, int64_t row, const float* x);

  // The rows from first_row onwards.
  QuantizedView view(int64_t first_row = 0) const;

 private:
  int64_t cols_ = 0;
  int64_t padded_blocks_ = 0;
  Scratch codes_memory_, scales_memory_, sums_memory_, sums16_memory_;
  int8_t* codes_ = nullptr;
  float* scales_ = nullptr;
  float* sums_ = nullptr;
  int16_t* sums16_ = nullptr;
};

}  // namespace barn
