#pragma once

#include <cstdlib>

#include "benchmark/benchmark.h"
#include "kernels/cpu/bandwidth.h"
#include "kernels/cpu/cores.h"

namespace barn {

// Threads of the benchmarks' devices: BARN_BENCH_THREADS, or one per core.
inline int BenchThreads() {
  const char* threads = std::getenv("BARN_BENCH_THREADS");
  return threads == nullptr ? CoreList().count() : std::atoi(threads);
}

// What an iteration reads: bytes per second, and as a share of what as many threads read from memory, measured once.
// Above 1 the data came from a cache.
inline void ReportBytes(benchmark::State& state, int64_t bytes) {
  static const double bytes_per_s = MeasureReadBandwidth(BenchThreads()).value();
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * bytes);
  state.counters["of_memory"] =
      benchmark::Counter(static_cast<double>(bytes) / bytes_per_s, benchmark::Counter::kIsIterationInvariantRate);
}

}  // namespace barn
