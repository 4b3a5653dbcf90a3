#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"
#include "kernels/cpu/read_ahead.h"

namespace barn {

// Threads that share loops. One thread calls ParallelFor at a time and takes part as thread 0. The others are bound to
// cores when asked; the caller is not, since it belongs to somebody else.
class ThreadPool {
 public:
  // begin, end: a range of items. thread: in [0, threads()), for scratch memory.
  using Body = absl::FunctionRef<void(int64_t begin, int64_t end, int thread)>;

  // threads: 0 takes one per core that this process may use. A binding that fails is left out.
  ThreadPool(int threads, bool pin);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // What threads fetch while they wait for the next loop.
  ReadAhead& read_ahead() { return read_ahead_; }
  // Of the last level, as CoreList::cache_bytes().
  int64_t cache_bytes() const { return cache_bytes_; }

  // Calls body over [0, items) in pieces of `grain` items (the last one less), each once; returns when all are done.
  // Which thread gets which piece is not fixed, so results must not depend on it. Allocates nothing.
  void ParallelFor(int64_t items, int64_t grain, Body body);
  // The same in pieces that shrink: half of a thread's equal share of what is left. Long pieces keep the streams from
  // memory long, short ones at the end let the threads finish together.
  void ParallelFor(int64_t items, Body body);

 private:
  // Pieces of `grain` items or, with `shrinking`, more while much is left.
  void Run(int64_t items, int64_t grain, bool shrinking, Body body);
  void Work(int thread);
  void TakePieces(int thread);

  // The loop in progress; written while the gate is shut and nobody is inside.
  const Body* body_ = nullptr;
  int64_t items_ = 0;
  int64_t grain_ = 1;
  bool shrinking_ = false;
  alignas(64) std::atomic<int64_t> next_{0};
  // Loop number << 32 | threads inside << 1 | open. A thread that wakes up late finds the gate shut and stays outside,
  // so the caller waits only for threads that are really at work.
  alignas(64) std::atomic<uint64_t> gate_{0};
  alignas(64) std::atomic<uint32_t> signal_{0};  // Changes with every loop; idle threads sleep on it.
  std::atomic<bool> stopping_{false};
  ReadAhead read_ahead_;
  int64_t cache_bytes_ = 0;
  std::vector<std::thread> workers_;
};

}  // namespace barn
