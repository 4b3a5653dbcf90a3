#pragma once

#include <cstddef>

namespace barn::simt {

// A thread of execution that gives way only by SwitchFiber. The one that an OS thread begins with has no stack of its
// own. x86-64 only.
class Fiber {
 public:
  Fiber() = default;
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // entry runs on the first switch to it and never returns. stack: `bytes`, from its lowest address.
  void Start(void (*entry)(), char* stack, size_t bytes);

  friend void SwitchFiber(Fiber& from, Fiber& to);
  friend void FiberStarted();

 private:
  void* stack_pointer_ = nullptr;
  const void* stack_ = nullptr;  // Lowest address; for the sanitizers.
  size_t stack_bytes_ = 0;
  void* thread_sanitizer_ = nullptr;
  bool owns_thread_sanitizer_ = false;
};

// Runs `to` from where it gave way; returns when somebody switches back to `from`, which is the one that runs now.
void SwitchFiber(Fiber& from, Fiber& to);
// An entry calls this first.
void FiberStarted();

}  // namespace barn::simt
