#include "sharding/faster_nodes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "sharding/gpu_speed.h"
#include "sharding/plan_text.h"
#include "tests/sharding/planned_model.h"

namespace barn {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int64_t kGiB = int64_t{1} << 30;

PlanNode Gpu(const std::string& name, int64_t memory_bytes = 0) {
  const GpuFigures& gpu = *FindGpu(name);
  return {.name = name,
          .memory_bytes = memory_bytes > 0 ? memory_bytes : gpu.memory_bytes,
          .gpu = true,
          .link = {.transport = "NCCL", .device = name, .read_bytes_per_s = gpu.read_bytes_per_s}};
}
PlanNode Cpu(int threads, int64_t gib = 192) {
  return {.name = "cpu", .memory_bytes = gib * kGiB, .threads = threads, .link = {.transport = "UCX"}};
}

ShardPlan Plan(const Model& model, const std::vector<PlanNode>& nodes, const PlanOptions& options = {}) {
  const auto plan = PlanShards(model.catalogue, model.config, nodes, options);
  EXPECT_TRUE(plan.ok()) << plan.status();
  return plan.ok() ? *plan : ShardPlan();
}

std::vector<int> Used(const ShardPlan& plan) {
  std::vector<int> nodes;
  for (const PlanStage& stage : plan.stages) {
    for (const PlanRank& rank : stage.ranks) nodes.push_back(rank.node);
  }
  return nodes;
}

TEST(FasterNodes, AreGroupedByKind) {
  EXPECT_THAT(FasterNodes({}), IsEmpty());
  const std::vector<PlanNode> alike = {Cpu(4), Cpu(3), Cpu(4)};
  EXPECT_THAT(FasterNodes(alike), IsEmpty());
  const std::vector<PlanNode> three = {Cpu(1), Gpu("rtx3090"), Cpu(4), Gpu("rtx4090")};
  EXPECT_THAT(FasterNodes(three), ElementsAre(ElementsAre(1, 3), ElementsAre(1, 2, 3)));
  std::vector<PlanNode> many;
  for (int i = 0; i < 20; ++i) many.push_back(Cpu(1 << i));
  const auto groups = FasterNodes(many);
  EXPECT_EQ(groups.size(), 8u);
  EXPECT_THAT(groups.front(), ElementsAre(19));
}

// 133 tokens/s on the card alone, 102 with the first or the last layers on processors.
TEST(FasterNodes, ASlowNodeIsLeftOutWhereAllFitsWithoutIt) {
  const Model model = Load("Llama-3.1-8B-Q4_K_M");
  const ShardPlan alone = Plan(model, {Gpu("rtx3090")});
  const std::vector<PlanNode> nodes = {Cpu(4), Gpu("rtx3090")};
  const ShardPlan both = Plan(model, nodes, {.objective = PlanObjective::kThroughput});
  EXPECT_THAT(Used(both), ElementsAre(0, 1));
  EXPECT_EQ(both.unused_reason, "");
  for (const PlanObjective objective : {PlanObjective::kBoth, PlanObjective::kLatency}) {
    const ShardPlan plan = Plan(model, nodes, {.objective = objective});
    EXPECT_THAT(Used(plan), ElementsAre(1));
    EXPECT_DOUBLE_EQ(plan.stream_tokens_per_s, alone.stream_tokens_per_s);
    EXPECT_GT(plan.stream_tokens_per_s, 1.2 * both.stream_tokens_per_s);
    EXPECT_EQ(plan.context_tokens, both.context_tokens);
    EXPECT_EQ(plan.stages[0].ranks[0].total_bytes(), alone.stages[0].ranks[0].total_bytes());
    EXPECT_THAT(PlanText(plan, nodes), HasSubstr("unused (one stream is predicted at 133 tokens/s without, "));
    EXPECT_THAT(PlanText(plan, nodes), HasSubstr(" with all nodes): cpu\n"));
    const nlohmann::json json = PlanJson(plan, nodes);
    EXPECT_EQ(json["unused_nodes"], nlohmann::json({"cpu"}));
    EXPECT_EQ(json["unused_reason"], plan.unused_reason);
  }
}

TEST(FasterNodes, WhatIsNeededStays) {
  // The model does not fit into the card.
  EXPECT_THAT(Used(Plan(Load("Llama-3.1-405B-Q2_K"), {Gpu("rtx3090"), Cpu(16)})), ElementsAre(0, 1));
  // Or not with all the tokens that both have room for.
  const Model model = Load("Llama-3.1-8B-Q4_K_M");
  const ShardPlan tokens = Plan(model, {Gpu("rtx3090")}, {.context_tokens = 4096});
  const std::vector<PlanNode> nodes = {Gpu("rtx3090", tokens.stages[0].ranks[0].total_bytes()), Cpu(16)};
  EXPECT_THAT(Used(Plan(model, nodes, {.context_tokens = 4096})), ElementsAre(0));
  EXPECT_THAT(Used(Plan(model, nodes, {.context_tokens = 8192})), ElementsAre(0, 1));
  EXPECT_THAT(Used(Plan(model, nodes)), ElementsAre(0, 1));
}

TEST(FasterNodes, NodesOfOneKindStayTogether) {
  const Model model = Load("Llama-3.1-8B-Q4_K_M");
  EXPECT_THAT(Used(Plan(model, {Cpu(4), Cpu(4)})), ElementsAre(0, 1));
  EXPECT_THAT(Used(Plan(model, {Gpu("rtx3090"), Gpu("rtx4090"), Cpu(4)})), ElementsAre(0, 1));
  EXPECT_THAT(Used(Plan(model, {Gpu("rtx3090"), Gpu("h100")})), ElementsAre(1));
  EXPECT_THAT(Used(Plan(model, {Cpu(16), Cpu(1)})), ElementsAre(0));
}

// Processors beside them would make a pipeline of cards that can share every layer.
TEST(FasterNodes, MayBeRanks) {
  const Model model = Load("Llama-3.1-8B-Q4_K_M");
  std::vector<PlanNode> nodes = {Gpu("rtx3090"), Cpu(16), Gpu("rtx3090")};
  for (PlanNode& node : nodes) node.memory_domain = "box";
  nodes[2].link.device = "another";
  const ShardPlan plan = Plan(model, nodes, {.objective = PlanObjective::kLatency});
  EXPECT_EQ(plan.stages.size(), 1u) << plan.reason;
  EXPECT_THAT(Used(plan), ElementsAre(0, 2));
  EXPECT_THAT(plan.reason, HasSubstr("one stream is predicted at "));
  EXPECT_THAT(UnusedText(plan, nodes), HasSubstr("): cpu"));
}

// A node that has no room for its layer keeps the others from nothing.
TEST(FasterNodes, ASlowNodeWithoutRoomIsLeftOut) {
  const Model model = Load("Llama-3.1-8B-Q4_K_M");
  std::vector<PlanNode> nodes = {Gpu("rtx3090"), Cpu(16)};
  nodes[1].memory_bytes = 1 << 20;
  for (const PlanObjective objective : {PlanObjective::kBoth, PlanObjective::kThroughput}) {
    const ShardPlan plan = Plan(model, nodes, {.objective = objective});
    EXPECT_THAT(Used(plan), ElementsAre(0));
    EXPECT_EQ(UnusedText(plan, nodes), "unused (with all nodes the model does not fit): cpu");
  }
  nodes[0].memory_bytes = 1 << 20;
  const auto plan = PlanShards(model.catalogue, model.config, nodes, {});
  EXPECT_TRUE(absl::IsResourceExhausted(plan.status())) << plan.status();
  EXPECT_THAT(plan.status().message(), HasSubstr(" of 2 nodes is "));
}

}  // namespace
}  // namespace barn
