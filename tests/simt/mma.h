#pragma once

#include <cstdint>

#include "tests/simt/block.h"

namespace barn::simt {

// The products of kernels/cuda/gpu_nvcc.h, element by element from the layout that is written there. Float sums are
// taken in the order of the contracted index and rounded after each term, which the hardware does not promise.
void MmaS8K16(int (&d)[4], const uint32_t (&a)[2], uint32_t b, Site site);
void MmaS8(int (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Site site);
void MmaF16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Site site);

}  // namespace barn::simt
