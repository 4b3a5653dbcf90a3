#include "tests/kernels/simde_avx512.h"
// Behind it, since it renames what these call. Templates over the trait have other names than those of the library.
#define VecAvx512 EmulatedVecAvx512
#include "kernels/cpu/make_float_kernels.h"
#include "kernels/cpu/vec_avx512.h"
#include "tests/kernels/emulated_avx512.h"

namespace barn {

const FloatKernels& EmulatedAvx512FloatKernels() {
  static const FloatKernels kernels = MakeFloatKernels<VecAvx512>();
  return kernels;
}

}  // namespace barn
