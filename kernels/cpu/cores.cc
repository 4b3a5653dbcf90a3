#include "kernels/cpu/cores.h"

#include <hwloc.h>

#include <algorithm>
#include <vector>

namespace barn {

namespace {

// All caches of the last level that the processors of `cpus` use.
uint64_t LastLevelCacheBytes(hwloc_topology_t topology, hwloc_const_cpuset_t cpus) {
  for (const hwloc_obj_type_t type : {HWLOC_OBJ_L3CACHE, HWLOC_OBJ_L2CACHE}) {
    uint64_t bytes = 0;
    for (int i = 0; i < hwloc_get_nbobjs_by_type(topology, type); ++i) {
      const hwloc_obj_t cache = hwloc_get_obj_by_type(topology, type, i);
      if (hwloc_bitmap_intersects(cache->cpuset, cpus)) bytes += cache->attr->cache.size;
    }
    if (bytes > 0) return bytes;
  }
  return 0;
}

}  // namespace

struct CoreList::State {
  hwloc_topology_t topology = nullptr;
  std::vector<hwloc_cpuset_t> cores;  // One set per core, within what the process may use.
  uint64_t cache_bytes = 0;
};

CoreList::CoreList() : state_(std::make_unique<State>()) {
  if (hwloc_topology_init(&state_->topology) != 0) {
    state_->topology = nullptr;
    return;
  }
  hwloc_cpuset_t allowed = hwloc_bitmap_alloc();
  if (allowed != nullptr && hwloc_topology_load(state_->topology) == 0) {
    if (hwloc_get_cpubind(state_->topology, allowed, HWLOC_CPUBIND_PROCESS) != 0) {
      hwloc_bitmap_copy(allowed, hwloc_topology_get_allowed_cpuset(state_->topology));
    }
    const int cores = std::max(0, hwloc_get_nbobjs_by_type(state_->topology, HWLOC_OBJ_CORE));
    for (int i = 0; i < cores; ++i) {
      hwloc_cpuset_t set = hwloc_bitmap_dup(hwloc_get_obj_by_type(state_->topology, HWLOC_OBJ_CORE, i)->cpuset);
      hwloc_bitmap_and(set, set, allowed);
      if (hwloc_bitmap_iszero(set)) {
        hwloc_bitmap_free(set);
      } else {
        state_->cores.push_back(set);
      }
    }
    state_->cache_bytes = LastLevelCacheBytes(state_->topology, allowed);
  }
  hwloc_bitmap_free(allowed);
}

CoreList::~CoreList() {
  for (hwloc_cpuset_t set : state_->cores) hwloc_bitmap_free(set);
  if (state_->topology != nullptr) hwloc_topology_destroy(state_->topology);
}

int CoreList::count() const {
  if (!state_->cores.empty()) return static_cast<int>(state_->cores.size());
  return std::max(1u, std::thread::hardware_concurrency());
}

int64_t CoreList::cache_bytes() const { return static_cast<int64_t>(state_->cache_bytes); }

bool CoreList::Bind(std::thread& thread, int index) const {
  if (index < 0 || index >= static_cast<int>(state_->cores.size())) return false;
  return hwloc_set_thread_cpubind(state_->topology, thread.native_handle(), state_->cores[index], 0) == 0;
}

}  // namespace barn
