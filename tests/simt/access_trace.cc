#include "tests/simt/access_trace.h"

#include <map>
#include <set>
#include <utility>

#include "kernels/check.h"
#include "tests/simt/block.h"

namespace barn::simt {
namespace {

constexpr uintptr_t kSector = 32;
AccessTrace* active = nullptr;

}  // namespace

AccessTrace::AccessTrace() {
  BARN_CHECK(active == nullptr && GetOptions().os_threads == 1);
  active = this;
}

AccessTrace::~AccessTrace() { active = nullptr; }

AccessTrace* AccessTrace::Active() { return active; }

void AccessTrace::Record(const void* memory, size_t bytes) {
  const Block& block = *current_block;
  const Thread& thread = current_block->self();
  const uint64_t index =
      (uint64_t{block.index().z} * block.grid().y + block.index().y) * block.grid().x + block.index().x;
  const uint32_t ordinal = made_[index * kBlockThreadsMax + thread.linear]++;
  accesses_.push_back({.warp = index * kBlockThreadsMax + thread.warp,
                       .ordinal = ordinal,
                       .bytes = static_cast<uint32_t>(bytes),
                       .address = reinterpret_cast<uintptr_t>(memory)});
}

AccessTrace::Traffic AccessTrace::Of(const void* memory, size_t bytes) const {
  const auto begin = reinterpret_cast<uintptr_t>(memory);
  std::map<std::pair<uint64_t, uint32_t>, std::set<uintptr_t>> requests;  // The bytes of each.
  for (const Access& access : accesses_) {
    if (access.address < begin || access.address >= begin + bytes) continue;
    std::set<uintptr_t>& asked = requests[{access.warp, access.ordinal}];
    for (uint32_t i = 0; i < access.bytes; ++i) asked.insert(access.address + i);
  }
  Traffic traffic = {.requests = static_cast<int64_t>(requests.size())};
  for (const auto& [request, asked] : requests) {
    std::set<uintptr_t> sectors;
    for (const uintptr_t byte : asked) sectors.insert(byte / kSector);
    traffic.bytes += static_cast<int64_t>(asked.size());
    traffic.sectors += static_cast<int64_t>(sectors.size());
  }
  return traffic;
}

}  // namespace barn::simt
