#pragma once

#include "kernels/cpu/float_kernels.h"
#include "kernels/cpu/kernel_table.h"

namespace barn {

// The AVX-512 kernels compiled through SIMDe for a machine with AVX2: the same source, slower.
const KernelTable& EmulatedAvx512Kernels();
const KernelTable& EmulatedAvx512VbmiKernels();
const FloatKernels& EmulatedAvx512FloatKernels();

}  // namespace barn
