#include "sharding/tiers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <vector>

#include "sharding/gpu_speed.h"
#include "sharding/plan_text.h"
#include "sharding/speed.h"
#include "tests/sharding/planned_model.h"

namespace barn {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kGiB = int64_t{1} << 30;

PlanNode Gpu(int64_t gib, int64_t host_gib, int threads = 1) {
  return {.name = "gpu",
          .memory_bytes = gib * kGiB,
          .threads = threads,
          .gpu = true,
          .host_memory_bytes = host_gib * kGiB,
          .link = {.device = "a card", .read_bytes_per_s = 1e12}};
}
PlanNode Cpu(int64_t gib, int threads = 1) { return {.name = "cpu", .memory_bytes = gib * kGiB, .threads = threads}; }

absl::StatusOr<ShardPlan> Plan(const Model& model, const std::vector<PlanNode>& nodes, int64_t context_tokens = 4096) {
  return PlanShards(model.catalogue, model.config, nodes, {.context_tokens = context_tokens});
}

int64_t Experts(const Model& model, int64_t first, int64_t last) {
  const std::vector<int64_t> bytes = ExpertBytesByLayer(model.catalogue);
  return std::accumulate(bytes.begin() + first, bytes.begin() + last, int64_t{0});
}

// 16 GiB hold all of the model but some layers' experts, and no layer more than must goes to the host.
TEST(Tiers, ExpertsThatTheGpuHasNoRoomForLieWithItsHost) {
  const Model model = Load("Qwen3-30B-A3B-Q4_K_M");
  const int64_t layers = model.config.layers;
  const auto roomy = Plan(model, {Gpu(24, 64)});
  ASSERT_TRUE(roomy.ok()) << roomy.status();
  EXPECT_EQ(roomy->stages[0].host_expert_layers, 0);
  EXPECT_EQ(roomy->stages[0].ranks[0].host_bytes, 0);
  const auto plan = Plan(model, {Gpu(16, 64)});
  ASSERT_TRUE(plan.ok()) << plan.status();
  const PlanStage& stage = plan->stages[0];
  const PlanRank& rank = stage.ranks[0];
  ASSERT_GT(stage.host_expert_layers, 0);
  EXPECT_LT(stage.host_expert_layers, layers / 2);
  EXPECT_EQ(rank.host_bytes, Experts(model, layers - stage.host_expert_layers, layers));
  EXPECT_EQ(rank.weights_bytes + rank.host_bytes, roomy->stages[0].ranks[0].weights_bytes);
  EXPECT_LE(rank.total_bytes(), 16 * kGiB);
  EXPECT_GT(
      rank.total_bytes() + Experts(model, layers - stage.host_expert_layers, layers - stage.host_expert_layers + 1),
      16 * kGiB);
  const std::vector<PlanNode> nodes = {Gpu(16, 64)};
  EXPECT_THAT(PlanText(*plan, nodes), HasSubstr("gpu: experts of layers "));
  const nlohmann::json json = PlanJson(*plan, nodes)["stages"][0];
  EXPECT_EQ(json["host_bytes"], rank.host_bytes);
  EXPECT_EQ(json["host_expert_layers"], stage.host_expert_layers);
}

// A context that nobody asked for shrinks before experts leave the GPU.
TEST(Tiers, TheChosenContextGivesWayFirst) {
  const Model model = Load("Qwen3-30B-A3B-Q4_K_M");
  const auto all = Plan(model, {Gpu(24, 0)}, 4096);
  ASSERT_TRUE(all.ok()) << all.status();
  PlanNode node = Gpu(0, 64);
  node.memory_bytes = all->stages[0].ranks[0].total_bytes();
  const auto plan = Plan(model, {node}, 0);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->stages[0].host_expert_layers, 0);
  EXPECT_EQ(plan->context_tokens, 4096);
  const auto longer = Plan(model, {node}, 16384);
  ASSERT_TRUE(longer.ok()) << longer.status();
  EXPECT_GT(longer->stages[0].host_expert_layers, 0);
}

TEST(Tiers, TheShortfallIsNamedForEach) {
  const Model experts = Load("Qwen3-235B-A22B-Q2_K");
  const auto host = Plan(experts, {Gpu(24, 32)});
  EXPECT_TRUE(absl::IsResourceExhausted(host.status())) << host.status();
  EXPECT_THAT(host.status().message(), HasSubstr(" GiB of 32.0 GiB on its host"));
  // A dense model has nothing for the host.
  const Model dense = Load("Llama-3.1-405B-Q2_K");
  const auto gpu = Plan(dense, {Gpu(24, 512)});
  EXPECT_TRUE(absl::IsResourceExhausted(gpu.status())) << gpu.status();
  EXPECT_THAT(gpu.status().message(), HasSubstr("of 24.0 GiB on the GPU and, for experts, 0 B of 512 GiB on its host"));
}

TEST(Tiers, GpusAreFilledBeforeProcessors) {
  const Model model = Load("Llama-3.1-405B-Q2_K");
  const auto plan = Plan(model, {Gpu(24, 0), Gpu(24, 0), Cpu(192)});
  ASSERT_TRUE(plan.ok()) << plan.status();
  ASSERT_EQ(plan->stages.size(), 3u);
  const int64_t layer_bytes = model.catalogue.LayerBytes(60);
  for (int i = 0; i < 2; ++i) {  // Not another layer would fit.
    const int64_t used = plan->stages[static_cast<size_t>(i)].ranks[0].total_bytes();
    EXPECT_LE(used, 24 * kGiB);
    EXPECT_GT(used + layer_bytes, 24 * kGiB) << i;
  }
  // Without GPUs, and among GPUs, nodes are filled evenly.
  const auto even = Plan(model, {Cpu(192), Cpu(192)});
  ASSERT_TRUE(even.ok()) << even.status();
  EXPECT_NEAR(static_cast<double>(even->stages[0].last_layer), 63, 2);
}

TEST(Tiers, FullnessOrdersWhatFits) {
  const std::vector<PlanNode> nodes = {Gpu(16, 64), Cpu(64)};
  const auto full = [&](int node, int64_t gib, int64_t host_gib) {
    return Fullness({.node = node, .weights_bytes = gib * kGiB, .host_bytes = host_gib * kGiB}, nodes);
  };
  EXPECT_DOUBLE_EQ(full(0, 8, 0), 0.5);
  EXPECT_DOUBLE_EQ(full(0, 16, 32), 1.5);
  EXPECT_DOUBLE_EQ(full(0, 16, 64), kFits);
  EXPECT_GT(full(0, 16, 65), kFits);
  EXPECT_GT(full(0, 17, 0), kFits);
  EXPECT_DOUBLE_EQ(full(1, 32, 0), 1.5);
  const std::vector<PlanNode> processors = {Cpu(64)};
  EXPECT_DOUBLE_EQ(Fullness({.node = 0, .weights_bytes = 32 * kGiB}, processors), 0.5);
}

// A token reads 8 of 128 experts; those with the host at its processors' speed.
TEST(Tiers, TheHostsShareIsPredictedAtItsSpeed) {
  const Model model = Load("Qwen3-30B-A3B-Q4_K_M");
  const auto seconds = [&](const PlanNode& node) {
    const auto plan = Plan(model, {node});
    EXPECT_TRUE(plan.ok()) << plan.status();
    return std::pair(1 / plan->stream_tokens_per_s, plan->stages[0]);
  };
  const auto [on_gpu, all] = seconds(Gpu(24, 64, 4));
  const auto [mixed, stage] = seconds(Gpu(16, 64, 4));
  const double moved = static_cast<double>(stage.ranks[0].host_bytes) * 8 / 128;
  EXPECT_NEAR(HostBytesPerToken(model.catalogue, model.config, stage), moved, 1);
  const double crossings = static_cast<double>(stage.host_expert_layers) * 30e-6;
  EXPECT_NEAR(mixed - on_gpu, moved / (4 * kThreadBytesPerSecond) - moved / (kReachableBandwidth * 1e12) + crossings,
              1e-6);
}

}  // namespace
}  // namespace barn
