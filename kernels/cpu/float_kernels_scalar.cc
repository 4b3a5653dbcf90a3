#include "kernels/cpu/make_float_kernels.h"
#include "kernels/cpu/vec_scalar.h"

namespace barn {

extern const FloatKernels kFloatKernelsScalar;
constinit const FloatKernels kFloatKernelsScalar = MakeFloatKernels<VecScalar>();

}  // namespace barn
