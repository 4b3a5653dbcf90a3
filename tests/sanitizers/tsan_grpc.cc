// Only in ThreadSanitizer builds. Debian's gRPC is compiled without it: the tool sees neither the atomics and queues by
// which a call passes from thread to thread, nor most of what happens inside. These definitions stand before the
// library's own, pass each call on, and tell the tool which of our code comes before which.
#include <dlfcn.h>
#include <grpc/grpc.h>
#include <sanitizer/tsan_interface.h>

#include <atomic>

// Memory functions called from libraries that are not instrumented are not accesses of ours.
extern "C" const char* __tsan_default_options() { return "ignore_noninstrumented_modules=1"; }

namespace {

template <typename Function>
Function* Real(Function*, const char* symbol) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, symbol));
}

}  // namespace

#define BARN_SUCCESS_RUN "_ZN4grpc8internal22CallbackWithSuccessTag9StaticRunEP29grpc_completion_queue_functori"
#define BARN_STATUS_RUN "_ZN4grpc8internal21CallbackWithStatusTag9StaticRunEP29grpc_completion_queue_functori"
#define BARN_EXECUTOR_RUN \
  "_ZN9grpc_core8Executor3RunEP12grpc_closureN4absl7debian36StatusENS_12ExecutorTypeENS_15ExecutorJobTypeE"
#define BARN_RUN_CLOSURES "_ZN9grpc_core8Executor11RunClosuresEPKc17grpc_closure_list"
#define BARN_CALL_ON_CANCEL "_ZN4grpc8internal18ServerCallbackCall12CallOnCancelEPNS0_13ServerReactorE"
#define BARN_SCHEDULE_ON_DONE "_ZN4grpc8internal18ServerCallbackCall14ScheduleOnDoneEb"

// A batch of operations comes before its completion, whose tag is a functor of the callback interface or an object that
// a queue hands out.
extern "C" {

__attribute__((weak)) void BarnSuccessRun(grpc_completion_queue_functor*, int) __asm__(BARN_SUCCESS_RUN);
__attribute__((weak)) void BarnStatusRun(grpc_completion_queue_functor*, int) __asm__(BARN_STATUS_RUN);

static void AcquireSuccessRun(grpc_completion_queue_functor* functor, int ok) {
  __tsan_acquire(functor);
  BarnSuccessRun(functor, ok);
}

static void AcquireStatusRun(grpc_completion_queue_functor* functor, int ok) {
  __tsan_acquire(functor);
  BarnStatusRun(functor, ok);
}

grpc_call_error grpc_call_start_batch(grpc_call* call, const grpc_op* ops, size_t count, void* tag, void* reserved) {
  static auto* const real = Real(&grpc_call_start_batch, "grpc_call_start_batch");
  if (tag != nullptr) {
    auto*& run = static_cast<grpc_completion_queue_functor*>(tag)->functor_run;
    if (run != nullptr && run == &BarnSuccessRun) run = &AcquireSuccessRun;
    if (run != nullptr && run == &BarnStatusRun) run = &AcquireStatusRun;
    __tsan_release(tag);
  }
  return real(call, ops, count, tag, reserved);
}

grpc_event grpc_completion_queue_next(grpc_completion_queue* queue, gpr_timespec deadline, void* reserved) {
  static auto* const real = Real(&grpc_completion_queue_next, "grpc_completion_queue_next");
  const grpc_event event = real(queue, deadline, reserved);
  if (event.type == GRPC_OP_COMPLETE) __tsan_acquire(event.tag);
  return event;
}

grpc_event grpc_completion_queue_pluck(grpc_completion_queue* queue, void* tag, gpr_timespec deadline, void* reserved) {
  static auto* const real = Real(&grpc_completion_queue_pluck, "grpc_completion_queue_pluck");
  const grpc_event event = real(queue, tag, deadline, reserved);
  if (event.type == GRPC_OP_COMPLETE) __tsan_acquire(event.tag);
  return event;
}

}  // extern "C"

// What is given to gRPC's executor comes before what the executor runs.
namespace {

struct Closure {  // The beginning of grpc_closure.
  Closure* next;
};
struct ClosureList {  // grpc_closure_list.
  Closure* head;
  Closure* tail;
};

}  // namespace

// status: passed by value in C++, which for its type is by address.
extern "C" void BarnExecutorRun(Closure* closure, void* status, int executor, int job) __asm__(BARN_EXECUTOR_RUN);
extern "C" void BarnExecutorRun(Closure* closure, void* status, int executor, int job) {
  static auto* const real = Real(&BarnExecutorRun, BARN_EXECUTOR_RUN);
  __tsan_release(closure);
  real(closure, status, executor, job);
}

extern "C" size_t BarnRunClosures(const char* executor, ClosureList list) __asm__(BARN_RUN_CLOSURES);
extern "C" size_t BarnRunClosures(const char* executor, ClosureList list) {
  static auto* const real = Real(&BarnRunClosures, BARN_RUN_CLOSURES);
  for (Closure* closure = list.head; closure != nullptr; closure = closure->next) __tsan_acquire(closure);
  return real(executor, list);
}

// A server's OnCancel comes before its OnDone. The library lowers a call's counters also where the tool does not see
// it.
namespace {

struct ServerReactor {  // The virtual functions of grpc::internal::ServerReactor.
  virtual ~ServerReactor() = default;
  virtual void OnDone() = 0;
  virtual void OnCancel() = 0;
  virtual bool InternalInlineable() = 0;
};
struct ServerCallbackCall {  // The members of grpc::internal::ServerCallbackCall.
  virtual ~ServerCallbackCall() = default;
  std::atomic_int on_cancel_conditions_remaining;
  std::atomic_int callbacks_outstanding;
};

class CancelledReactor : public ServerReactor {
 public:
  CancelledReactor(ServerCallbackCall* call, ServerReactor* reactor) : call_(call), reactor_(reactor) {}
  void OnDone() override {}
  bool InternalInlineable() override { return reactor_->InternalInlineable(); }
  void OnCancel() override {
    reactor_->OnCancel();
    __tsan_release(&call_->callbacks_outstanding);
    delete this;
  }

 private:
  ServerCallbackCall* call_;
  ServerReactor* reactor_;
};

}  // namespace

extern "C" void BarnCallOnCancel(ServerCallbackCall* call, ServerReactor* reactor) __asm__(BARN_CALL_ON_CANCEL);
extern "C" void BarnCallOnCancel(ServerCallbackCall* call, ServerReactor* reactor) {
  static auto* const real = Real(&BarnCallOnCancel, BARN_CALL_ON_CANCEL);
  __tsan_acquire(&call->on_cancel_conditions_remaining);
  real(call, new CancelledReactor(call, reactor));
}

extern "C" void BarnScheduleOnDone(ServerCallbackCall* call, bool here) __asm__(BARN_SCHEDULE_ON_DONE);
extern "C" void BarnScheduleOnDone(ServerCallbackCall* call, bool here) {
  static auto* const real = Real(&BarnScheduleOnDone, BARN_SCHEDULE_ON_DONE);
  __tsan_acquire(&call->callbacks_outstanding);
  real(call, here);
}
