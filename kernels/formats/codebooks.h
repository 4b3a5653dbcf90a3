#pragma once

#include <cstddef>
#include <cstdint>

namespace barn {

// A plain array, since files of one instruction set may not instantiate functions of the library.
template <class Point, size_t kPoints>
struct Grid {
  Point points[kPoints];
};

// Constants of the GGUF formats. A grid point packs its coordinates one per byte, coordinate k in bits 8k .. 8k + 7.
extern const Grid<uint64_t, 256> kIq2XxsGrid;  // 8 magnitudes in {8, 25, 43}.
extern const Grid<uint64_t, 512> kIq2XsGrid;
extern const Grid<uint64_t, 1024> kIq2SGrid;
extern const Grid<uint32_t, 256> kIq3XxsGrid;  // 4 magnitudes, 4 .. 62.
extern const Grid<uint32_t, 512> kIq3SGrid;    // 4 odd magnitudes, 1 .. 15.
extern const Grid<uint64_t, 2048> kIq1Grid;    // 8 of int8 {-1, 0, 1}; IQ1_S and IQ1_M.

// IQ4_NL and IQ4_XS.
inline constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

// Twice the values of FP4 (E2M1), which makes them integers.
inline constexpr int8_t kFp4Doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// Signs of 8 elements from 7 stored bits: bit 7 makes the number of minus signs even. Bit k set: element k is negative.
constexpr uint8_t EvenSigns(uint32_t seven_bits) {
  const uint32_t bits = seven_bits & 127;
  const uint32_t parity = (0x6996u >> ((bits ^ bits >> 4) & 15)) & 1;
  return static_cast<uint8_t>(bits | parity << 7);
}

}  // namespace barn
