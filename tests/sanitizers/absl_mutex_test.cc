// What ThreadSanitizer must understand of Debian's Abseil, which it cannot see into (tsan_absl_mutex.cc).
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"

namespace barn {
namespace {

// A thread that unlocks evaluates the conditions of those that wait.
TEST(AbslMutex, ConditionsAreReadUnderTheLock) {
  constexpr int kThreads = 4, kTurns = 200;
  absl::Mutex mutex;
  int turns = 0;
  std::vector<std::jthread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&mutex, &turns, i] {
      const auto my_turn = [&turns, i] { return turns % kThreads == i; };
      for (int turn = 0; turn < kTurns; ++turn) {
        if (i % 2 == 0) {
          mutex.LockWhen(absl::Condition(&my_turn));
        } else {
          mutex.Lock();
          while (!mutex.AwaitWithTimeout(absl::Condition(&my_turn), absl::Milliseconds(1))) {
          }
        }
        ++turns;
        mutex.Unlock();
      }
    });
  }
  threads.clear();
  EXPECT_EQ(turns, kThreads * kTurns);
}

TEST(AbslNotification, WhatWasWrittenBeforeIsSeenAfter) {
  for (const bool asks : {false, true}) {
    std::string value;
    absl::Notification done;
    std::jthread writer([&] {
      value = "written";
      done.Notify();
    });
    absl::SleepFor(absl::Milliseconds(20));  // Already notified, the wait takes no lock.
    if (asks) {
      while (!done.HasBeenNotified()) std::this_thread::yield();
    } else {
      done.WaitForNotification();
    }
    EXPECT_EQ(value, "written");
  }
}

}  // namespace
}  // namespace barn
