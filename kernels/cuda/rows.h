#pragma once

#include <cstdint>

namespace barn::gpu {

// A view of f32 on the device: row r at data + r * stride, which is in floats. Does not own.
struct Rows {
  float* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;
};

// Whether every row is whole float4 on their boundaries.
inline bool IsWide(const Rows& x) {
  return reinterpret_cast<uintptr_t>(x.data) % 16 == 0 && x.stride % 4 == 0 && x.cols % 4 == 0;
}

}  // namespace barn::gpu
