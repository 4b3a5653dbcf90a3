#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

namespace barn::simt {

// Records what threads load and store while it lives, so that a test can count the sectors of 32 bytes that memory
// moves for each request of a warp: what its lanes do in the same instruction. Kernels that run on one OS thread only,
// whose lanes make the same number of accesses before the one in question. One at a time.
class AccessTrace {
 public:
  AccessTrace();
  ~AccessTrace();
  AccessTrace(const AccessTrace&) = delete;
  AccessTrace& operator=(const AccessTrace&) = delete;

  struct Traffic {
    int64_t requests = 0;
    int64_t sectors = 0;  // Over all requests.
    int64_t bytes = 0;    // Asked for, what several lanes of a request share once.
  };
  // Of accesses in [memory, memory + bytes).
  Traffic Of(const void* memory, size_t bytes) const;

  void Record(const void* memory, size_t bytes);  // By the simulator.
  static AccessTrace* Active();

 private:
  struct Access {
    uint64_t warp;  // Of all blocks.
    uint32_t ordinal;
    uint32_t bytes;
    uintptr_t address;
  };
  std::map<uint64_t, uint32_t> made_;  // Accesses of each thread so far.
  std::vector<Access> accesses_;
};

}  // namespace barn::simt
