#include "sharding/gpu_speed.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "sharding/speed.h"
#include "tests/sharding/planned_model.h"

namespace barn {
namespace {

double TokensPerSecond(const Model& model, const std::vector<std::string>& names) {
  std::vector<PlanNode> nodes;
  std::vector<const GpuFigures*> gpus;
  for (const std::string& name : names) {
    gpus.push_back(FindGpu(name));
    nodes.push_back(
        {.name = name, .memory_bytes = gpus.back() == nullptr ? int64_t{256} << 30 : gpus.back()->memory_bytes});
  }
  const auto plan = PlanShards(model.catalogue, model.config, nodes, {.context_tokens = 4096});
  EXPECT_TRUE(plan.ok()) << plan.status();
  return 1 / GpuStreamSecondsPerToken(model.catalogue, model.config, *plan, nodes, gpus);
}

TEST(GpuSpeed, IsBytesOverBandwidthAndLaunches) {
  const Model model = Load("Llama-3.1-8B-Q4_K_M");
  // bytes_read_per_decoded_token of oracles/plan/totals.json: 4'617'398'784, of which one row of the embedding, 2304.
  const double bytes = 4'617'398'784.0 - 2304;
  const double launches = 32 * kLaunchesPerLayer * kLaunchSeconds;
  EXPECT_NEAR(TokensPerSecond(model, {"rtx3090"}), 1 / (bytes / (0.88 * 936e9) + launches), 0.1);
  EXPECT_NEAR(TokensPerSecond(model, {"h100"}), 1 / (bytes / (0.88 * 3350e9) + launches), 0.1);
}

TEST(GpuSpeed, ReadsOnlyRoutedExpertsAndWaitsForTheRouter) {
  const Model model = Load("Qwen3-30B-A3B-Q4_K_M");
  const double seconds = 1 / TokensPerSecond(model, {"rtx4090"});
  const double overhead = 48 * (kLaunchesPerRoutedLayer * kLaunchSeconds + kHostWaitSeconds);
  EXPECT_GT(seconds, overhead);
  EXPECT_NEAR((seconds - overhead) * 0.88 * 1008e9, 1'919'597'696.0 - 1152, 1e6);  // As in totals.json; of 18.6 GB.
}

TEST(GpuSpeed, StagesFollowOneAnother) {
  const Model model = Load("Llama-3.1-8B-Q4_K_M");
  const double one = 1 / TokensPerSecond(model, {"rtx3090"});
  EXPECT_NEAR(1 / TokensPerSecond(model, {"rtx3090", "rtx3090"}), one + kHopSeconds, 1e-6);
  // A node without a GPU counts as speed.h counts it.
  const double mixed = 1 / TokensPerSecond(model, {"rtx3090", "none"});
  EXPECT_GT(mixed, 10 * one);
}

TEST(GpuSpeed, KnowsCardsByName) {
  EXPECT_EQ(FindGpu("rtx1"), nullptr);
  for (const GpuFigures& gpu : KnownGpus()) {
    EXPECT_EQ(FindGpu(gpu.name), &gpu);
    EXPECT_GT(gpu.read_bytes_per_s, 1e11);
  }
}

}  // namespace
}  // namespace barn
