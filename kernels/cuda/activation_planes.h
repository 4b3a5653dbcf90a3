#pragma once

#include <cstdint>

namespace barn::gpu {

// The scale of 32 int8 codes, and the sums of the first and the last 16, which multiply what a weight adds to its
// codes.
struct alignas(8) UnitScale {
  float scale;
  int16_t sums[2];
};

// Rows of activations on the device, as int8. Row r: codes[r * cols ..], unit u of 32 columns: scales[r * cols / 32 +
// u]. x is about scale * code. cols is a multiple of 32; codes is 16-byte aligned.
struct ActivationPlanes {
  int8_t* codes = nullptr;
  UnitScale* scales = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
};

}  // namespace barn::gpu
