#pragma once

#include <cstddef>

#include "kernels/cuda/stream.h"

// For libraries that a program with the simulator loads, such as the stand-in for NCCL: the device that the calling
// thread uses, and work for a stream that reads and writes device memory.
extern "C" int barn_simt_device();
extern "C" void barn_simt_enqueue(CUstream_st* stream, const void* read, size_t read_bytes, void* written,
                                  size_t written_bytes, void (*run)(void*), void* argument);
