#pragma once

#include <cstdint>
#include <memory>
#include <thread>

namespace barn {

// The processor cores that this process may use, by hwloc: hardware threads of one core count once.
class CoreList {
 public:
  CoreList();
  ~CoreList();
  CoreList(const CoreList&) = delete;
  CoreList& operator=(const CoreList&) = delete;

  int count() const;  // At least 1.
  // Of the last level, all caches of those cores together; 0 when unknown.
  int64_t cache_bytes() const;
  // Binds the thread to core `index` in [0, count()); false when the system refuses.
  bool Bind(std::thread& thread, int index) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace barn
