#pragma once

#include "kernels/check.h"
#include "kernels/cuda/gpu.h"
#include "kernels/formats/dtype.h"

namespace barn::gpu {

// Weights that are stored as numbers.
struct ElementF32 {
  using Stored = float;
  __device__ static float ToFloat(float x) { return x; }
};
struct ElementF16 {
  using Stored = uint16_t;
  __device__ static float ToFloat(uint16_t x) { return HalfToFloat(x); }
};
struct ElementBF16 {
  using Stored = uint16_t;
  __device__ static float ToFloat(uint16_t x) { return __uint_as_float(static_cast<uint32_t>(x) << 16); }
};

inline bool IsPlain(DType dtype) { return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16; }

// Calls function(ElementX{}) for the run-time type.
template <class Function>
void DispatchPlain(DType dtype, Function function) {
  BARN_CHECK(IsPlain(dtype));
  if (dtype == DType::kF32) return function(ElementF32{});
  if (dtype == DType::kF16) return function(ElementF16{});
  function(ElementBF16{});
}

}  // namespace barn::gpu
