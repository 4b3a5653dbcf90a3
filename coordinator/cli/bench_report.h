#pragma once

#include <optional>
#include <string>
#include <vector>

#include "coordinator/cli/machine.h"
#include "coordinator/cli/memory_bound.h"
#include "coordinator/cli/statistics.h"
#include "coordinator/scheduler/engine.h"

namespace barn {

// What `barn bench` did and found.
struct BenchReport {
  std::string model;
  int64_t prompt_tokens = 0;
  int64_t generated_tokens = 0;
  int64_t depth_tokens = 0;
  int streams = 1;
  int repetitions = 1;
  double load_s = 0;  // From the start of the processes until a token could be generated.
  Machine machine;
  std::vector<WorkerState> workers = {};
  TokenBytes token_bytes = {};             // Of one stream's token, halfway through what is generated.
  std::optional<Summary> prompt = {};      // Tokens/s.
  std::optional<Summary> generation = {};  // Tokens/s of all streams together.
};

std::string BenchText(const BenchReport& report);

// Names that scripts rely on: prompt_tokens_per_s and generation_tokens_per_s (medians), each with _spread {min, max};
// load_s, slices_bytes; token_bytes {dense, experts, kv}; machine {cpu, cores, threads, memory_bytes,
// read_gb_per_s (10^9 bytes), system, governor, workers [{name, device, slice_bytes}]}. With one stream also
// memory_bound_tokens_per_s and memory_bound_share, of generation. What is unknown is absent.
std::string BenchJson(const BenchReport& report);

}  // namespace barn
