// GCC 12 warns about its own AVX-512 intrinsics (bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"

#include "kernels/cpu/make_float_kernels.h"
#include "kernels/cpu/vec_avx512.h"

namespace barn {

extern const FloatKernels kFloatKernelsAvx512;
constinit const FloatKernels kFloatKernelsAvx512 = MakeFloatKernels<VecAvx512>();

}  // namespace barn
