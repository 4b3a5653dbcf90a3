#pragma once

#include <cstdint>

#include "kernels/cpu/float_kernels.h"

// The rotary embedding of one row, in plain loops that the compiler turns into vectors. The rules of row_kernels.h
// hold.
namespace barn {

template <class Vec>
struct RopeKernels {
  static constexpr int64_t kPairs = 64;  // Taken at a time: their cosines stay in the first-level cache for all heads.

  struct Angles {
    float cosines[kPairs];
    float sines[kPairs];
  };

  // cos and sin of position * frequency, times magnitude. Error below 2e-7 of magnitude for angles up to 2^31.
  static void Fill(const RopeRow& row, int64_t first, int64_t count, Angles& angles) {
    const double position = row.position;
    const float magnitude = row.magnitude;
    const float* __restrict frequencies = row.inverse_frequencies + first;
    float* __restrict cosines = angles.cosines;
    float* __restrict sines = angles.sines;
    float rest[kPairs];
    float quadrants[kPairs];
    for (int64_t i = 0; i < count; ++i) {
      // angle = n pi / 2 + r with |r| <= pi / 4; pi / 2 in two parts, the first of 33 bits, so that n times it is
      // exact.
      const double angle = position * static_cast<double>(frequencies[i]);
      const double n = __builtin_floor(angle * 0x1.45f306dc9c883p-1 + 0.5);
      rest[i] = static_cast<float>((angle - n * 0x1.921fb544p+0) - n * 0x1.0b4611a626331p-34);
      quadrants[i] = static_cast<float>(n - 4.0 * __builtin_floor(n * 0.25));
    }
    for (int64_t i = 0; i < count; ++i) {
      const float r = rest[i];
      const float z = r * r;
      const float sine = r + r * z * (-0x1.555546p-3f + z * (0x1.110756p-7f + z * -0x1.994b3ep-13f));
      const float cosine = 1.0f - 0.5f * z + z * z * (0x1.55554ap-5f + z * (-0x1.6c0c82p-10f + z * 0x1.99ff3ep-16f));
      const float q = quadrants[i];
      const bool odd = (q == 1.0f) | (q == 3.0f);
      const float s = odd ? cosine : sine;
      const float c = odd ? sine : cosine;
      sines[i] = (q >= 2.0f ? -s : s) * magnitude;
      cosines[i] = ((q == 1.0f) | (q == 2.0f) ? -c : c) * magnitude;
    }
  }

  static void RotateNeighbours(const Angles& angles, int64_t count, float* __restrict x) {
    for (int64_t i = 0; i < count; ++i) {
      const float a = x[2 * i];
      const float b = x[2 * i + 1];
      x[2 * i] = a * angles.cosines[i] - b * angles.sines[i];
      x[2 * i + 1] = a * angles.sines[i] + b * angles.cosines[i];
    }
  }

  static void RotateHalves(const Angles& angles, int64_t count, float* __restrict low, float* __restrict high) {
    for (int64_t i = 0; i < count; ++i) {
      const float a = low[i];
      const float b = high[i];
      low[i] = a * angles.cosines[i] - b * angles.sines[i];
      high[i] = a * angles.sines[i] + b * angles.cosines[i];
    }
  }

  static void Rope(const RopeRow& row) {
    const int64_t pairs = row.width / 2;
    for (int64_t first = 0; first < pairs; first += kPairs) {
      const int64_t count = pairs - first < kPairs ? pairs - first : kPairs;
      Angles angles;
      Fill(row, first, count, angles);
      for (int64_t h = 0; h < row.heads; ++h) {
        float* x = row.x + h * row.head_width + row.offset;
        if (row.neighbours) {
          RotateNeighbours(angles, count, x + 2 * first);
        } else {
          RotateHalves(angles, count, x + first, x + pairs + first);
        }
      }
    }
  }
};

}  // namespace barn
