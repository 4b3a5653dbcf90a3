#include "kernels/cpu/float_kernels.h"

#include "kernels/cpu/isa.h"

namespace barn {

extern const FloatKernels kFloatKernelsScalar;
extern const FloatKernels kFloatKernelsAvx2;
extern const FloatKernels kFloatKernelsAvx512;

const FloatKernels& FloatKernelsFor(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return kFloatKernelsScalar;
    case Isa::kAvx2:
      return kFloatKernelsAvx2;
    case Isa::kAvx512:
    case Isa::kAvx512Vbmi:
      return kFloatKernelsAvx512;
  }
  return kFloatKernelsScalar;
}

}  // namespace barn
