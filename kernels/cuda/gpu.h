#pragma once

// The one header that a kernel file includes for its dialect: CUDA's when nvcc compiles it for a GPU, the simulator's
// (tests/simt, on the include path of the targets that simulate) when g++ compiles the same file. README.md lists what
// a kernel may use.
#if defined(__CUDACC__)
#include "kernels/cuda/gpu_nvcc.h"
#else
#include "gpu_simt.h"
#endif
