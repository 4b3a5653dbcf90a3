#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "kernels/cpu/isa.h"
#include "kernels/device.h"

namespace barn {

// Every instruction set that this machine can run.
inline std::vector<Isa> RunnableIsas() {
  std::vector<Isa> isas;
  for (const Isa isa : kIsas) {
    if (IsaSupported(isa)) isas.push_back(isa);
  }
  return isas;
}

inline std::vector<float> RandomFloats(int64_t count, uint32_t seed, float deviation = 1.0f) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0.0f, deviation);
  std::vector<float> values(count);
  for (float& value : values) value = normal(engine);
  return values;
}

inline Tensor View(std::vector<float>& values, int64_t rows, int64_t cols) {
  return {.data = values.data(), .rows = rows, .cols = cols, .stride = cols};
}

inline constexpr double kEpsilon = 0x1p-24;  // Half an ulp of an f32 near 1.

}  // namespace barn
