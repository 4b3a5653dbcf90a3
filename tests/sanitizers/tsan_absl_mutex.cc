// Only in ThreadSanitizer builds. Debian's Abseil is compiled without it, so the tool cannot see what absl::Mutex and
// absl::Notification order and would report every guarded member as a race. These definitions stand before the
// library's own, pass each call on, and tell the tool what it means; gRPC's mutexes are covered the same way.
#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"

// Of ThreadSanitizer's run-time library; no header of it declares them.
extern "C" void AnnotateIgnoreReadsBegin(const char* file, int line);
extern "C" void AnnotateIgnoreReadsEnd(const char* file, int line);
extern "C" void AnnotateIgnoreWritesBegin(const char* file, int line);
extern "C" void AnnotateIgnoreWritesEnd(const char* file, int line);

namespace {

template <typename Function>
Function* Real(Function*, const char* symbol) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, symbol));
}

// A thread evaluates a Condition, also those of others, inside the library's function: under the lock, but outside the
// time between acquire and release as they are told here.
struct InLibrary {
  InLibrary() {
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  }
  ~InLibrary() {
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
  }
};

// Its flag lies behind its mutex; HasBeenNotified is inline and reads it where the tool sees that.
void* Flag(absl::Notification* notification) { return reinterpret_cast<absl::Mutex*>(notification) + 1; }

}  // namespace

#define BARN_CLASS "_ZN4absl7debian35Mutex"
#define BARN_CONDVAR "_ZN4absl7debian37CondVar"
#define BARN_NOTIFICATION "4absl7debian312Notification"

// result name(mutex, ...): `before` and `after` run around the library's function.
#define BARN_INTERPOSE(result, name, symbol, parameters, arguments, before, after) \
  extern "C" result name parameters __asm__(symbol);                               \
  extern "C" result name parameters {                                              \
    static auto* const real = Real(&name, symbol);                                 \
    before;                                                                        \
    const InLibrary in_library;                                                    \
    after(real arguments);                                                         \
  }

#define BARN_ACQUIRE(call) \
  call;                    \
  __tsan_acquire(mutex)
#define BARN_ACQUIRE_AND_RETURN(call) \
  const bool value = call;            \
  __tsan_acquire(mutex);              \
  return value
#define BARN_ACQUIRE_IF_TRUE(call) \
  const bool value = call;         \
  if (value) {                     \
    __tsan_acquire(mutex);         \
  }                                \
  return value
#define BARN_CALL(call) call
#define BARN_ACQUIRE_FLAG(call) \
  call;                         \
  __tsan_acquire(Flag(notification))
#define BARN_ACQUIRE_FLAG_IF_TRUE(call) \
  const bool value = call;              \
  if (value) {                          \
    __tsan_acquire(Flag(notification)); \
  }                                     \
  return value

using absl::Condition;
using absl::CondVar;
using absl::Duration;
using absl::Mutex;
using absl::Notification;
using absl::Time;

BARN_INTERPOSE(void, BarnLock, BARN_CLASS "4LockEv", (Mutex * mutex), (mutex), , BARN_ACQUIRE)
BARN_INTERPOSE(void, BarnReaderLock, BARN_CLASS "10ReaderLockEv", (Mutex * mutex), (mutex), , BARN_ACQUIRE)
BARN_INTERPOSE(bool, BarnTryLock, BARN_CLASS "7TryLockEv", (Mutex * mutex), (mutex), , BARN_ACQUIRE_IF_TRUE)
BARN_INTERPOSE(void, BarnUnlock, BARN_CLASS "6UnlockEv", (Mutex * mutex), (mutex), __tsan_release(mutex), BARN_CALL)
BARN_INTERPOSE(void, BarnReaderUnlock, BARN_CLASS "12ReaderUnlockEv", (Mutex * mutex), (mutex), __tsan_release(mutex),
               BARN_CALL)
BARN_INTERPOSE(void, BarnLockWhen, BARN_CLASS "8LockWhenERKNS0_9ConditionE",
               (Mutex * mutex, const Condition& condition), (mutex, condition), , BARN_ACQUIRE)
BARN_INTERPOSE(bool, BarnLockWhenWithTimeout, BARN_CLASS "19LockWhenWithTimeoutERKNS0_9ConditionENS0_8DurationE",
               (Mutex * mutex, const Condition& condition, Duration timeout), (mutex, condition, timeout), ,
               BARN_ACQUIRE_AND_RETURN)
BARN_INTERPOSE(bool, BarnLockWhenWithDeadline, BARN_CLASS "20LockWhenWithDeadlineERKNS0_9ConditionENS0_4TimeE",
               (Mutex * mutex, const Condition& condition, Time deadline), (mutex, condition, deadline), ,
               BARN_ACQUIRE_AND_RETURN)
BARN_INTERPOSE(void, BarnAwait, BARN_CLASS "5AwaitERKNS0_9ConditionE", (Mutex * mutex, const Condition& condition),
               (mutex, condition), __tsan_release(mutex), BARN_ACQUIRE)
BARN_INTERPOSE(bool, BarnAwaitWithTimeout, BARN_CLASS "16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE",
               (Mutex * mutex, const Condition& condition, Duration timeout), (mutex, condition, timeout),
               __tsan_release(mutex), BARN_ACQUIRE_AND_RETURN)
BARN_INTERPOSE(bool, BarnAwaitWithDeadline, BARN_CLASS "17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE",
               (Mutex * mutex, const Condition& condition, Time deadline), (mutex, condition, deadline),
               __tsan_release(mutex), BARN_ACQUIRE_AND_RETURN)
BARN_INTERPOSE(void, BarnWait, BARN_CONDVAR "4WaitEPNS0_5MutexE", (CondVar * variable, Mutex* mutex), (variable, mutex),
               __tsan_release(mutex), BARN_ACQUIRE)
BARN_INTERPOSE(bool, BarnWaitWithTimeout, BARN_CONDVAR "15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE",
               (CondVar * variable, Mutex* mutex, Duration timeout), (variable, mutex, timeout), __tsan_release(mutex),
               BARN_ACQUIRE_AND_RETURN)
BARN_INTERPOSE(bool, BarnWaitWithDeadline, BARN_CONDVAR "16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE",
               (CondVar * variable, Mutex* mutex, Time deadline), (variable, mutex, deadline), __tsan_release(mutex),
               BARN_ACQUIRE_AND_RETURN)
BARN_INTERPOSE(void, BarnNotify, "_ZN" BARN_NOTIFICATION "6NotifyEv", (Notification * notification), (notification),
               __tsan_release(Flag(notification)), BARN_CALL)
BARN_INTERPOSE(void, BarnWaitForNotification, "_ZNK" BARN_NOTIFICATION "19WaitForNotificationEv",
               (Notification * notification), (notification), , BARN_ACQUIRE_FLAG)
BARN_INTERPOSE(bool, BarnWaitForNotificationWithTimeout,
               "_ZNK" BARN_NOTIFICATION "30WaitForNotificationWithTimeoutENS0_8DurationE",
               (Notification * notification, Duration timeout), (notification, timeout), , BARN_ACQUIRE_FLAG_IF_TRUE)
BARN_INTERPOSE(bool, BarnWaitForNotificationWithDeadline,
               "_ZNK" BARN_NOTIFICATION "31WaitForNotificationWithDeadlineENS0_4TimeE",
               (Notification * notification, Time deadline), (notification, deadline), , BARN_ACQUIRE_FLAG_IF_TRUE)
