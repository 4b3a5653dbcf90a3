#include "tests/kernels/cuda/on_gpu.h"
#include "tests/simt/simt_test_util.h"

namespace barn {

void UseSchedule(int index) { simt::SetOptions(AllSchedules()[static_cast<size_t>(index)]); }

}  // namespace barn
