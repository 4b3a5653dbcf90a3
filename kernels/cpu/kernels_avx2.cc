#include "kernels/cpu/isa_avx2.h"
#include "kernels/cpu/make_table.h"

namespace barn {

const KernelTable& Avx2Kernels() {
  static const KernelTable table = MakeTable<Avx2Isa>();
  return table;
}

}  // namespace barn
