#include "tests/simt/mma.h"

#include "kernels/formats/half.h"

namespace barn::simt {
namespace {

constexpr uint32_t kAllLanes = ~0u;

int ByteOf(uint32_t word, int i) { return static_cast<int8_t>(word >> (8 * i)); }
float HalfOf(uint32_t word, int i) { return HalfToFloat(static_cast<uint16_t>(word >> (16 * i))); }

}  // namespace

void MmaS8K16(int (&d)[4], const uint32_t (&a)[2], uint32_t b, Site site) {
  const LaneValues* lanes = current_block->Exchange("MmaS8K16", kAllLanes, {{a[0], a[1], b}}, site);
  const int lane = static_cast<int>(current_block->self().lane);
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4 + 8 * (i / 2);
    const int column = 2 * (lane % 4) + i % 2;
    for (int k = 0; k < 16; ++k) {
      d[i] += ByteOf(lanes[4 * (row % 8) + k / 4].words[row / 8], k % 4) *
              ByteOf(lanes[4 * column + k / 4].words[2], k % 4);
    }
  }
}

void MmaS8(int (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Site site) {
  const LaneValues* lanes = current_block->Exchange("MmaS8", kAllLanes, {{a[0], a[1], a[2], a[3], b[0], b[1]}}, site);
  const int lane = static_cast<int>(current_block->self().lane);
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4 + 8 * (i / 2);
    const int column = 2 * (lane % 4) + i % 2;
    for (int k = 0; k < 32; ++k) {
      const int half = k / 16;
      d[i] += ByteOf(lanes[4 * (row % 8) + k % 16 / 4].words[row / 8 + 2 * half], k % 4) *
              ByteOf(lanes[4 * column + k % 16 / 4].words[4 + half], k % 4);
    }
  }
}

void MmaF16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Site site) {
  const LaneValues* lanes = current_block->Exchange("MmaF16", kAllLanes, {{a[0], a[1], a[2], a[3], b[0], b[1]}}, site);
  const int lane = static_cast<int>(current_block->self().lane);
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4 + 8 * (i / 2);
    const int column = 2 * (lane % 4) + i % 2;
    for (int k = 0; k < 16; ++k) {
      const int half = k / 8;
      d[i] += HalfOf(lanes[4 * (row % 8) + k % 8 / 2].words[row / 8 + 2 * half], k % 2) *
              HalfOf(lanes[4 * column + k % 8 / 2].words[4 + half], k % 2);
    }
  }
}

}  // namespace barn::simt
