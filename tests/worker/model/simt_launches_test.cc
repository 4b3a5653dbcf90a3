#include <gtest/gtest.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "kernels/cuda/gpu_device.h"
#include "sharding/gpu_speed.h"
#include "tests/simt/simt_stream.h"
#include "tests/worker/model/oracle_model.h"
#include "worker/model/architectures.h"

namespace barn {
namespace {

// What sharding/gpu_speed.h predicts with.
TEST(SimtLaunches, OfATokenAreThoseOfThePrediction) {
  const std::pair<const char*, int> models[] = {{"llama-q4_k_m", kLaunchesPerLayer},
                                                {"qwen3moe-q3_k", kLaunchesPerRoutedLayer}};
  for (const auto& [name, per_layer] : models) {
    const OracleModel model = LoadOracle(name);
    const auto layers = static_cast<int64_t>(DescribeModel(*model.header, 0)->layers.size());
    Pipeline pipeline(model, {.kv_type = KvType::kF16, .make_device = [](size_t) {
                                return *GpuDevice::Create({.memory_bytes = int64_t{48} << 20});
                              }});
    pipeline.FeedForLast(model.Ids("prompt_short"));
    const std::vector<int32_t> next = {model.Ids("greedy_ids")[0]};
    const int64_t before = simt::Launches();
    pipeline.FeedForLast(next);
    const int64_t outside = 4;  // The embedding, and the head with its norm and rounding.
    EXPECT_NEAR(static_cast<double>(simt::Launches() - before - outside) / static_cast<double>(layers), per_layer, 0.5)
        << name;
  }
}

}  // namespace
}  // namespace barn
