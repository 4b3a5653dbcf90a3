#include "kernels/cpu/make_table.h"
#include "kernels/cpu/panel_avx2.h"

namespace barn {

const KernelTable& Avx2Kernels() {
  static const KernelTable table = MakeTable<Avx2PanelIsa>();
  return table;
}

}  // namespace barn
