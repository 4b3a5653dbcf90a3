#include "tests/kernels/cuda/on_gpu.h"

namespace barn {

void UseSchedule(int /*index*/) {}

}  // namespace barn
