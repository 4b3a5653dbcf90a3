#pragma once

#include <cstdint>
#include <span>
#include <string_view>

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
// today; tests/worker/model/simt_launches_test.cc counts them.
inline constexpr int kLaunchesPerLayer = 20;        // Of a dense layer.
inline constexpr int kLaunchesPerRoutedLayer = 25;  // Of one with experts; the host waits for the router once in it.
inline constexpr double kLaunchSeconds = 3e-6;      // From one kernel of a stream to the next.
inline constexpr double kHostWaitSeconds = 15e-6;
// The most of a datasheet's bandwidth that large reads reach.
inline constexpr double kReachableBandwidth = 0.88;
inline constexpr double kUnknownReadBytesPerSecond = 500e9;  // Of a GPU that does not say.
// One exchange between the GPUs of a machine by NCCL: a kernel on each that waits for the slower one, over PCIe, and
// what each receives. Few kilobytes, so that the first decides; NVLink halves it, which no plan counts on.
inline constexpr double kNcclExchangeSeconds = 15e-6;
inline constexpr double kPcieBytesPerSecond = 20e9;

// Seconds that a GPU takes for one token of a stage that reads so many bytes of weights: those, its kernels, and what
// its host computes. No figure here has been measured on a GPU.
double GpuSeconds(const Catalogue& catalogue, const ModelConfig& config, const PlanStage& stage, const PlanNode& node,
                  double bytes);

}  // namespace barn
