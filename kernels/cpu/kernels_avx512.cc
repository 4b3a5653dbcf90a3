#include "kernels/cpu/isa_avx512.h"
#include "kernels/cpu/make_table.h"

namespace barn {

const KernelTable& Avx512Kernels() {
  static const KernelTable table = MakeTable<Avx512Isa>();
  return table;
}

}  // namespace barn
