#include "kernels/cpu/thread_pool.h"

#include <atomic>
#include <chrono>
#include <numeric>
#include <vector>

#include "gtest/gtest.h"

namespace barn {
namespace {

TEST(ThreadPool, EveryItemOnceWhateverTheGrain) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads, /*pin=*/threads == 2);
    ASSERT_EQ(pool.threads(), threads);
    for (const int64_t items : {0, 1, 2, 7, 64, 1000}) {
      for (const int64_t grain : {1, 3, 64, 5000}) {
        std::vector<int> visits(static_cast<size_t>(items));
        pool.ParallelFor(items, grain, [&](int64_t begin, int64_t end, int thread) {
          ASSERT_LT(begin, end);
          ASSERT_LE(end, items);
          ASSERT_LE(end - begin, grain);
          ASSERT_GE(thread, 0);
          ASSERT_LT(thread, threads);
          for (int64_t i = begin; i < end; ++i) ++visits[i];
        });
        for (const int count : visits) ASSERT_EQ(count, 1);
      }
    }
  }
}

TEST(ThreadPool, EveryItemOnceInShrinkingPieces) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads, /*pin=*/false);
    for (const int64_t items : {0, 1, 2, 7, 64, 1000, 4096}) {
      std::vector<int> visits(static_cast<size_t>(items));
      std::atomic<int64_t> longest{0};
      pool.ParallelFor(items, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) ++visits[i];
        int64_t before = longest.load();
        while (before < end - begin && !longest.compare_exchange_weak(before, end - begin)) {
        }
      });
      for (const int count : visits) ASSERT_EQ(count, 1);
      if (threads > 1) {
        EXPECT_LE(longest, std::max<int64_t>(1, items / (2 * threads))) << items << " items";
      }
    }
  }
}

TEST(ThreadPool, WhatALoopWroteIsSeenByTheNext) {
  ThreadPool pool(4, /*pin=*/false);
  std::vector<int64_t> values(97, 1);
  for (int round = 0; round < 2000; ++round) {
    pool.ParallelFor(97, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) ++values[i];
    });
    ASSERT_EQ(std::accumulate(values.begin(), values.end(), int64_t{0}), 97 * (round + 2));
  }
}

TEST(ThreadPool, ThreadsWakeFromSleep) {
  ThreadPool pool(3, /*pin=*/true);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    std::atomic<int> sum{0};
    pool.ParallelFor(100, 1, [&](int64_t begin, int64_t, int) { sum += static_cast<int>(begin); });
    EXPECT_EQ(sum, 4950);
  }
}

TEST(ThreadPool, MoreThanOneThreadTakesPart) {
  ThreadPool pool(2, /*pin=*/false);
  std::atomic<int> inside{0};
  // Both pieces wait for each other, so that this ends only when two threads work at once.
  pool.ParallelFor(2, 1, [&](int64_t, int64_t, int) {
    ++inside;
    while (inside < 2) std::this_thread::yield();
  });
  EXPECT_EQ(inside, 2);
}

TEST(ThreadPool, ZeroMeansOnePerCore) {
  ThreadPool pool(0, /*pin=*/true);
  EXPECT_GE(pool.threads(), 1);
  EXPECT_LE(pool.threads(), static_cast<int>(std::max(1u, std::thread::hardware_concurrency())));
}

}  // namespace
}  // namespace barn
