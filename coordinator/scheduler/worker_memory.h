#pragma once

#include <cstdint>
#include <map>

namespace barn {

// Bytes of one worker.
struct WorkerMemory {
  int64_t bytes = 0;       // Of its device.
  int64_t host_bytes = 0;  // Of the host beside a GPU.

  WorkerMemory& operator+=(const WorkerMemory& other) {
    bytes += other.bytes;
    host_bytes += other.host_bytes;
    return *this;
  }
  WorkerMemory& operator-=(const WorkerMemory& other) {
    bytes -= other.bytes;
    host_bytes -= other.host_bytes;
    return *this;
  }
  friend bool operator==(const WorkerMemory&, const WorkerMemory&) = default;
};

using MemoryByWorker = std::map<int64_t, WorkerMemory>;

}  // namespace barn
