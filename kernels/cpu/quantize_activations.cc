#include "kernels/cpu/quantize_activations.h"

#include "kernels/check.h"

namespace barn {

void QuantizedRows::Resize(int64_t rows, int64_t cols) {
  BARN_CHECK(cols % 32 == 0);
  cols_ = cols;
  padded_blocks_ = (cols / 32 + 7) / 8 * 8;
  const size_t blocks = static_cast<size_t>(rows * padded_blocks_);
  codes_ = codes_memory_.Get<int8_t>(32 * blocks);
  scales_ = scales_memory_.Get<float>(blocks);
  sums_ = sums_memory_.Get<float>(blocks);
  sums16_ = sums16_memory_.Get<int16_t>(2 * blocks);
}

void QuantizedRows::Quantize(const KernelTable& kernels, int64_t row, const float* x) {
  const int64_t block = row * padded_blocks_;
  kernels.quantize_row({.x = x,
                        .cols = static_cast<size_t>(cols_),
                        .padded_blocks = static_cast<size_t>(padded_blocks_),
                        .codes = codes_ + 32 * block,
                        .scales = scales_ + block,
                        .sums = sums_ + block,
                        .sums16 = sums16_ + 2 * block});
}

QuantizedView QuantizedRows::view(int64_t first_row) const {
  const int64_t block = first_row * padded_blocks_;
  return {.codes = codes_ + 32 * block,
          .scales = scales_ + block,
          .sums = sums_ + block,
          .sums16 = sums16_ + 2 * block,
          .padded_blocks = static_cast<size_t>(padded_blocks_)};
}

}  // namespace barn
