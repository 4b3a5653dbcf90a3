#include "kernels/cpu/isa_scalar.h"
#include "kernels/cpu/make_table.h"

namespace barn {

const KernelTable& ScalarKernels() {
  static const KernelTable table = MakeTable<ScalarIsa>();
  return table;
}

}  // namespace barn
