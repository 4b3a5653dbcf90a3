#include "tests/simt/fiber.h"

#include <cstdint>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

// Keeps the registers that a function must preserve on the old stack, its top in *rdi, and takes those of the stack
// whose top is rsi. A new fiber's stack is made to look as if it had been left this way.
extern "C" void barn_simt_switch(void** save, void* load);
asm(R"(
.text
.p2align 4
.globl barn_simt_switch
.hidden barn_simt_switch
.type barn_simt_switch, @function
barn_simt_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size barn_simt_switch, . - barn_simt_switch
)");

namespace barn::simt {
namespace {
#if defined(__SANITIZE_ADDRESS__)
thread_local Fiber* left = nullptr;  // Who gave way last: the sanitizer tells the bounds of a stack when it is left.
#endif
}  // namespace

Fiber::~Fiber() {
#if defined(__SANITIZE_THREAD__)
  if (owns_thread_sanitizer_) __tsan_destroy_fiber(thread_sanitizer_);
#endif
}

void Fiber::Start(void (*entry)(), char* stack, size_t bytes) {
  stack_ = stack;
  stack_bytes_ = bytes;
  // A function begins with the stack 8 off a multiple of 16, because a call pushes its return address.
  auto* top = reinterpret_cast<uint64_t*>(reinterpret_cast<uintptr_t>(stack + bytes) & ~uintptr_t{15});
  *--top = 0;
  *--top = reinterpret_cast<uint64_t>(entry);
  for (int saved = 0; saved < 6; ++saved) *--top = 0;
  stack_pointer_ = top;
#if defined(__SANITIZE_THREAD__)
  thread_sanitizer_ = __tsan_create_fiber(0);
  owns_thread_sanitizer_ = true;
#endif
}

void FiberStarted() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &left->stack_, &left->stack_bytes_);
#endif
}

void SwitchFiber(Fiber& from, Fiber& to) {
#if defined(__SANITIZE_ADDRESS__)
  void* fake_stack = nullptr;
  left = &from;
  __sanitizer_start_switch_fiber(&fake_stack, to.stack_, to.stack_bytes_);
#endif
#if defined(__SANITIZE_THREAD__)
  if (!from.owns_thread_sanitizer_) from.thread_sanitizer_ = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(to.thread_sanitizer_, 0);
#endif
  barn_simt_switch(&from.stack_pointer_, to.stack_pointer_);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake_stack, &left->stack_, &left->stack_bytes_);
#endif
}

}  // namespace barn::simt
