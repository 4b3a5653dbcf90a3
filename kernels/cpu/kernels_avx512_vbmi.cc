#include "kernels/cpu/isa_avx512_vbmi.h"

namespace barn {

const KernelTable& Avx512VbmiKernels() {
  static const KernelTable table = MakeVbmiTable(Avx512Kernels());
  return table;
}

}  // namespace barn
