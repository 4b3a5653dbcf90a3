#include "kernels/cpu/thread_pool.h"

#include <algorithm>

#include "kernels/cpu/cores.h"

namespace barn {
namespace {

constexpr uint64_t kOpen = 1;
constexpr uint64_t kOneInside = 2;
constexpr uint64_t kInsideMask = 0xfffffffeu;
// About 30 us: longer than the gap between two products of a layer, far shorter than a time slice.
constexpr int kSpins = 1000;

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

}  // namespace

ThreadPool::ThreadPool(int threads, bool pin) {
  const CoreList cores;
  if (threads <= 0) threads = cores.count();
  cache_bytes_ = cores.cache_bytes();
  workers_.reserve(threads - 1);
  for (int i = 1; i < threads; ++i) {
    workers_.emplace_back([this, i] { Work(i); });
    if (pin && cores.count() > 1) cores.Bind(workers_.back(), i % cores.count());
  }
}

ThreadPool::~ThreadPool() {
  stopping_.store(true, std::memory_order_release);
  signal_.fetch_add(1, std::memory_order_release);
  signal_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::ParallelFor(int64_t items, Body body) {
  Run(items, std::max<int64_t>(1, items / (16 * threads())), /*shrinking=*/true, body);
}

void ThreadPool::ParallelFor(int64_t items, int64_t grain, Body body) { Run(items, grain, /*shrinking=*/false, body); }

void ThreadPool::Run(int64_t items, int64_t grain, bool shrinking, Body body) {
  if (items <= 0) return;
  if (workers_.empty() && shrinking) grain = items;
  if (workers_.empty() || items <= grain) {
    for (int64_t begin = 0; begin < items; begin += grain) body(begin, std::min(items, begin + grain), 0);
    return;
  }
  body_ = &body;
  items_ = items;
  grain_ = grain;
  shrinking_ = shrinking;
  next_.store(0, std::memory_order_relaxed);
  const uint64_t loop = (gate_.load(std::memory_order_relaxed) >> 32) + 1;
  gate_.store(loop << 32 | kOpen, std::memory_order_release);
  signal_.fetch_add(1, std::memory_order_release);
  signal_.notify_all();
  TakePieces(0);
  gate_.fetch_and(~kOpen, std::memory_order_acq_rel);
  for (int spin = 0; (gate_.load(std::memory_order_acquire) & kInsideMask) != 0; ++spin) {
    if (spin < kSpins) {
      Pause();
    } else {
      std::this_thread::yield();
    }
  }
}

void ThreadPool::TakePieces(int thread) {
  int64_t begin = next_.load(std::memory_order_relaxed);
  while (begin < items_) {
    const int64_t left = items_ - begin;
    const int64_t wanted = shrinking_ ? std::max(grain_, left / (2 * threads())) : grain_;
    const int64_t end = begin + std::min(left, wanted);
    if (!next_.compare_exchange_weak(begin, end, std::memory_order_relaxed)) continue;
    (*body_)(begin, end, thread);
    begin = next_.load(std::memory_order_relaxed);
  }
}

void ThreadPool::Work(int thread) {
  uint32_t seen = 0;
  while (!stopping_.load(std::memory_order_acquire)) {
    for (int spin = 0; spin < kSpins && signal_.load(std::memory_order_acquire) == seen; ++spin) {
      if (!read_ahead_.FetchSome()) Pause();
    }
    signal_.wait(seen, std::memory_order_acquire);
    seen = signal_.load(std::memory_order_acquire);
    uint64_t gate = gate_.load(std::memory_order_acquire);
    while ((gate & kOpen) != 0) {
      if (!gate_.compare_exchange_weak(gate, gate + kOneInside, std::memory_order_acq_rel)) continue;
      TakePieces(thread);
      gate_.fetch_sub(kOneInside, std::memory_order_release);
      break;
    }
  }
}

}  // namespace barn
