#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sharding/catalogue.h"
#include "sharding/model_config.h"
#include "sharding/plan.h"

namespace barn {

// A graphics card as its datasheet has it.
struct GpuFigures {
  std::string_view name;
  int64_t memory_bytes = 0;
  double read_bytes_per_s = 0;
};
std::span<const GpuFigures> KnownGpus();
// Null: not one of them.
const GpuFigures* FindGpu(std::string_view name);

// What a step costs on a GPU beside the weights that it reads, from the kernels that the worker starts for one token
// today; tests/worker/model/simt_slice_test.cc counts them.
inline constexpr int kLaunchesPerLayer = 20;        // Of a dense layer.
inline constexpr int kLaunchesPerRoutedLayer = 25;  // Of one with experts; the host waits for the router once in it.
inline constexpr double kLaunchSeconds = 3e-6;      // From one kernel of a stream to the next.
inline constexpr double kHostWaitSeconds = 15e-6;
// The most of a datasheet's bandwidth that large reads reach.
inline constexpr double kReachableBandwidth = 0.88;

// Predicted seconds per token of one stream whose sequence is short. gpus[i] is what node i of the plan computes on;
// null: its processors (see speed.h). No figure here has been measured on a GPU.
double GpuStreamSecondsPerToken(const Catalogue& catalogue, const ModelConfig& config, const ShardPlan& plan,
                                std::span<const PlanNode> nodes, std::span<const GpuFigures* const> gpus);

}  // namespace barn
