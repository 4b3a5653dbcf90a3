#include "kernels/cpu/make_float_kernels.h"
#include "kernels/cpu/vec_avx2.h"

namespace barn {

extern const FloatKernels kFloatKernelsAvx2;
constinit const FloatKernels kFloatKernelsAvx2 = MakeFloatKernels<VecAvx2>();

}  // namespace barn
