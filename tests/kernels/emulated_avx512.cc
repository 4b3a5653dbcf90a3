#include "tests/kernels/simde_avx512.h"
// Behind it, since it renames what these call.
#include "kernels/cpu/isa_avx512_vbmi.h"
#include "kernels/cpu/make_table.h"
#include "tests/kernels/emulated_avx512.h"

namespace barn {

const KernelTable& EmulatedAvx512Kernels() {
  static const KernelTable table = MakeTable<Avx512Isa>();
  return table;
}

const KernelTable& EmulatedAvx512VbmiKernels() {
  static const KernelTable table = MakeVbmiTable(EmulatedAvx512Kernels());
  return table;
}

}  // namespace barn
