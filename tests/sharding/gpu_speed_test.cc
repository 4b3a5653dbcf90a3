#include "sharding/gpu_speed.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "sharding/speed.h"
#include "tests/sharding/planned_model.h"

namespace barn {
namespace {

// GPUs, each in a machine of its own unless they stand together; a name that is none is a node of processors.
std::vector<PlanNode> NodesOf(const std::vector<std::string>& names, bool together = false) {
  std::vector<PlanNode> nodes;
  for (const std::string& name : names) {
    const GpuFigures* gpu = FindGpu(name);
    nodes.push_back({.name = name, .memory_bytes = int64_t{256} << 30, .memory_domain = together ? "box" : ""});
    if (gpu == nullptr) continue;
    nodes.back().memory_bytes = gpu->memory_bytes;
    nodes.back().gpu = true;
    nodes.back().link = {
        .transport = "NCCL", .device = name + std::to_string(nodes.size()), .read_bytes_per_s = gpu->read_bytes_per_s};
  }
  return nodes;
}

ShardPlan PlanOn(const Model& model, const std::vector<std::string>& names, bool together = false) {
  const auto plan = PlanShards(model.catalogue, model.config, NodesOf(names, together), {.context_tokens = 4096});
  EXPECT_TRUE(plan.ok()) << plan.status();
  return *plan;
}

double TokensPerSecond(const Model& model, const std::vector<std::string>& names) {
  return PlanOn(model, names).stream_tokens_per_s;
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
  const ShardPlan two = PlanOn(model, {"rtx3090", "rtx3090"});
  ASSERT_EQ(two.stages.size(), 2u);
  EXPECT_NEAR(1 / two.stream_tokens_per_s, one + kHopSeconds, 1e-6);
  // A node without a GPU counts as speed.h counts it.
  EXPECT_GT(StreamSecondsPerToken(model.catalogue, model.config, two, NodesOf({"rtx3090", "none"})), 10 * one);
}

TEST(GpuSpeed, GpusOfOneMachineShareWhatTheyReadAndExchange) {
  const Model model = Load("Llama-3.1-8B-Q4_K_M");
  const ShardPlan plan = PlanOn(model, {"rtx3090", "rtx3090", "rtx3090", "rtx3090"}, true);
  ASSERT_EQ(plan.stages.size(), 1u) << plan.reason;
  EXPECT_EQ(plan.stages[0].ranks.size(), 4u);
  const double bytes = (4'617'398'784.0 - 2304) / 4;
  const double launches = 32 * kLaunchesPerLayer * kLaunchSeconds;
  const double exchanges = (4 * 32 + 1) * (kNcclExchangeSeconds + 4096 * 3 / kPcieBytesPerSecond);
  const double seconds = bytes / (0.88 * 936e9) + launches + exchanges;
  EXPECT_NEAR(1 / plan.stream_tokens_per_s, seconds, 0.02 * seconds);  // Norms and biases are on every rank.
  EXPECT_GT(plan.stream_tokens_per_s, 1.3 * TokensPerSecond(model, {"rtx3090"}));
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
