#include "kernels/cuda/matmul_kernel.h"
#include "kernels/cuda/weight_dispatch.h"

namespace barn::gpu {

#define BARN_INSTANCE(name) template void RunMatMul<Format##name>(const MatMulParams&, int, uint32_t, Stream);
BARN_TABLE_FORMATS(BARN_INSTANCE)
#undef BARN_INSTANCE

}  // namespace barn::gpu
