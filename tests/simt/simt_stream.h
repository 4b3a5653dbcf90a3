#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "kernels/cuda/stream.h"

namespace barn::simt {

// Puts work on a stream. Nothing runs before something waits for it, so that a wait that is missing shows every time.
void Enqueue(gpu::Stream stream, std::function<void()> work);

// Kernels that have run in this process.
int64_t Launches();

struct Machine {
  int devices = 2;
  size_t memory_bytes = size_t{4} << 30;  // Of each.
};
// Before the first device is used.
void SetMachine(Machine machine);

}  // namespace barn::simt
