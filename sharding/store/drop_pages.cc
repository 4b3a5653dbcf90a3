#include "sharding/store/drop_pages.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

namespace barn {

void DropPages(std::span<const std::byte> bytes) {
  const auto page_bytes = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto first = reinterpret_cast<uintptr_t>(bytes.data());
  const uintptr_t begin = (first + page_bytes - 1) / page_bytes * page_bytes;
  const uintptr_t end = (first + bytes.size()) / page_bytes * page_bytes;
  // Advice that fails changes nothing but memory.
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace barn
