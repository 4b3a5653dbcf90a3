#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"

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

  // Calls body over [0, items) in pieces of `grain` items (the last one less), each once; returns when all are done.
  // Which thread gets which piece is not fixed, so results must not depend on it. Allocates nothing.
  void ParallelFor(int64_t items, int64_t grain, Body body);
  // The same with a grain that gives each thread about eight pieces.
  void ParallelFor(int64_t items, Body body);

 private:
  void Work(int thread);
  void TakePieces(int thread);

  // The loop in progress; written while the gate is shut and nobody is inside.
  const Body* body_ = nullptr;
  int64_t items_ = 0;
  int64_t grain_ = 1;
  alignas(64) std::atomic<int64_t> next_{0};
  // Loop number << 32 | threads inside << 1 | open. A thread that wakes up late finds the gate shut and stays outside,
  // so the caller waits only for threads that are really at work.
  alignas(64) std::atomic<uint64_t> gate_{0};
  alignas(64) std::atomic<uint32_t> signal_{0};  // Changes with every loop; idle threads sleep on it.
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> workers_;
};

}  // namespace barn
