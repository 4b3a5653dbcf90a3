#include "kernels/cuda/matvec_kernel.h"
#include "kernels/cuda/weight_dispatch.h"

namespace barn::gpu {

#define BARN_INSTANCE(name) template void RunMatVec<Format##name>(MatVecParams, uint32_t, Stream);
BARN_TABLE_FORMATS(BARN_INSTANCE)
#undef BARN_INSTANCE

}  // namespace barn::gpu
