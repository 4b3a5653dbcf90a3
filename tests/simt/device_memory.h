#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"
#include "tests/simt/block.h"

namespace barn::simt {

// Memory of the simulated devices. Only a thread that holds an AccessDeviceMemory may touch it; anybody else dies with
// a line that says so. Each allocation ends at a page that nobody may touch, is 0xff at first, and its address is not
// used again, so that what comes too late is caught as well.

class AccessDeviceMemory {
 public:
  AccessDeviceMemory();
  ~AccessDeviceMemory();
  AccessDeviceMemory(const AccessDeviceMemory&) = delete;
  AccessDeviceMemory& operator=(const AccessDeviceMemory&) = delete;
};

// 256-byte aligned; 0 bytes count as 1. ResourceExhausted: more than `limit` bytes of this device would be in use.
absl::StatusOr<void*> AllocateOn(int device, size_t bytes, size_t limit);
void FreeOn(void* memory);
// The process dies unless all of the range lies in one allocation.
void CheckRange(const char* what, const void* memory, size_t bytes, Site site);
// The same for one load or store of a kernel, whose address must also be a multiple of its size.
void CheckAccess(const char* what, const void* memory, size_t bytes, Site site);
// After a kernel: nobody has written between the end of an allocation and its page's.
void CheckSlack();

// Pinned memory of the host. What a copy waits to write the host may not touch, what it waits to read not change.
enum class Hold { kRead, kWrite };
absl::StatusOr<void*> AllocatePinnedPages(size_t bytes);
void FreePinnedPages(void* memory);
// Dies unless [memory, memory + bytes) is pinned. Each hold is released once.
void HoldPinned(const void* memory, size_t bytes, Hold hold);
void ReleasePinned(const void* memory, Hold hold);

}  // namespace barn::simt
