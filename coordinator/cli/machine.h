#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace barn {

// The machine that figures were measured on, as far as the system tells.
struct Machine {
  std::string cpu;       // Model name; empty: unknown.
  std::string system;    // "Linux 6.1.0-18-amd64"
  std::string governor;  // Of the processor's frequency; empty: unknown, as in most virtual machines.
  int cores = 0;         // That this process may use.
  int64_t memory_bytes = 0;
  int threads = 0;              // Of all workers together.
  double read_bytes_per_s = 0;  // Of memory, measured with so many threads; 0: not measured.
};

// Everything but cores, threads and read_bytes_per_s.
Machine DescribeMachine();

// The first "model name" of /proc/cpuinfo; empty when there is none.
std::string CpuModel(std::string_view cpuinfo);

}  // namespace barn
