#pragma once

#include <optional>
#include <string>
#include <vector>

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
  std::vector<WorkerState> workers;
  std::optional<Summary> prompt = {};      // Tokens/s.
  std::optional<Summary> generation = {};  // Tokens/s of all streams together.
};

std::string BenchText(const BenchReport& report);

// Names that scripts rely on: prompt_tokens_per_s and generation_tokens_per_s (medians), each with _spread {min, max};
// machine.
std::string BenchJson(const BenchReport& report);

}  // namespace barn
