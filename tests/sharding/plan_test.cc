#include "sharding/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>
#include <string>

#include "sharding/placement.h"
#include "sharding/plan_text.h"
#include "sharding/ranks.h"
#include "tests/sharding/gguf_builder.h"

namespace barn {
namespace {

using ::testing::HasSubstr;

struct Model {
  Catalogue catalogue;
  ModelConfig config;
};

Model Load(const TinyModel& tiny) {
  std::vector<std::shared_ptr<const Store>> parts = {MemoryStore("tiny.gguf", tiny.File().Build())};
  const auto model = GgufModel::Read(parts);
  EXPECT_TRUE(model.ok()) << model.status();
  auto catalogue = BuildCatalogue(**model);
  EXPECT_TRUE(catalogue.ok()) << catalogue.status();
  auto config = ReadModelConfig(**model);
  EXPECT_TRUE(config.ok()) << config.status();
  return {*catalogue, *config};
}

std::vector<PlanNode> Nodes(const std::vector<int64_t>& memory_bytes) {
  std::vector<PlanNode> nodes;
  for (const int64_t bytes : memory_bytes) {
    nodes.push_back({.name = "n" + std::to_string(nodes.size()), .memory_bytes = bytes});
  }
  return nodes;
}

int64_t Total(const PlanRank& rank) { return rank.weights_bytes + rank.kv_bytes + rank.scratch_bytes; }

// What must hold for every plan: each layer once and in order, memory respected, bytes equal to the tensors listed.
void CheckPlan(const Model& model, const ShardPlan& plan, const std::vector<PlanNode>& nodes,
               const PlanOptions& options) {
  ASSERT_EQ(plan.stages.size(), std::min<size_t>(nodes.size(), static_cast<size_t>(model.config.layers)));
  EXPECT_EQ(plan.context_tokens, plan.kv_blocks * plan.kv_block_tokens);
  int64_t next_layer = 0;
  int last_node = -1;
  for (size_t i = 0; i < plan.stages.size(); ++i) {
    const PlanStage& stage = plan.stages[i];
    EXPECT_EQ(stage.first_layer, next_layer);
    EXPECT_GT(stage.last_layer, stage.first_layer);
    ASSERT_EQ(stage.ranks.size(), 1u);
    const PlanRank& alone = stage.ranks.front();
    EXPECT_GT(alone.node, last_node);
    next_layer = stage.last_layer;
    last_node = alone.node;
    EXPECT_LE(Total(alone), nodes[static_cast<size_t>(alone.node)].memory_bytes);
    int64_t weights_bytes = 0;
    for (const CatalogueEntry* entry : TensorsOfStage(model.catalogue, plan, static_cast<int>(i))) {
      weights_bytes += entry->tensor.size_bytes;
    }
    EXPECT_EQ(alone.weights_bytes, weights_bytes);
    int64_t kv_bytes = 0;
    for (int64_t layer = stage.first_layer; layer < stage.last_layer; ++layer) {
      const KvShape& shape = model.config.kv[static_cast<size_t>(layer)];
      const int64_t element_bytes = options.kv == KvType::kF32 ? 4 : options.kv == KvType::kF16 ? 2 : 1;
      int64_t token_bytes = shape.elements_per_token() * element_bytes;
      // A scale of two bytes, and with Q4_0 16 of codes, for 32 elements of a head, or for what is left of them.
      const int64_t scales = (shape.k_width + 31) / 32 + (shape.v_width + 31) / 32;
      if (options.kv == KvType::kQ8_0) token_bytes += 2 * shape.kv_heads * scales;
      if (options.kv == KvType::kQ4_0) token_bytes = (16 + 2) * shape.kv_heads * scales;
      kv_bytes += token_bytes * plan.context_tokens;
    }
    EXPECT_EQ(alone.kv_bytes, kv_bytes);
    EXPECT_GT(alone.scratch_bytes, 0);
  }
  EXPECT_EQ(next_layer, model.config.layers);
}

std::vector<std::string> Names(const std::vector<const CatalogueEntry*>& entries) {
  std::vector<std::string> names;
  for (const CatalogueEntry* entry : entries) names.push_back(entry->tensor.name);
  return names;
}

TEST(PlanShards, RandomModelsAndNodes) {
  std::mt19937 random(20261);
  const auto pick = [&](int64_t least, int64_t most) {
    return std::uniform_int_distribution<int64_t>(least, most)(random);
  };
  int fits = 0;
  for (int round = 0; round < 300; ++round) {
    SCOPED_TRACE(round);
    const Model model = Load({.layers = static_cast<uint32_t>(pick(1, 12)),
                              .experts = pick(0, 1) == 0 ? 0u : static_cast<uint32_t>(pick(2, 8)),
                              .tied = pick(0, 1) == 0});
    std::vector<int64_t> memory;
    for (int64_t n = pick(1, 6); n > 0; --n) memory.push_back(pick(100'000, 2'000'000));
    const std::vector<PlanNode> nodes = Nodes(memory);
    const PlanOptions options{.context_tokens = pick(0, 3) == 0 ? 0 : pick(1, 2000),
                              .kv = std::array{KvType::kF16, KvType::kF32, KvType::kQ8_0, KvType::kQ4_0}[pick(0, 3)],
                              .step_tokens_max = pick(1, 256)};
    const auto plan = PlanShards(model.catalogue, model.config, nodes, options);
    if (!plan.ok()) {
      EXPECT_TRUE(absl::IsResourceExhausted(plan.status())) << plan.status();
      continue;
    }
    ++fits;
    CheckPlan(model, *plan, nodes, options);
    if (options.context_tokens > 0) {
      EXPECT_EQ(plan->context_tokens, (options.context_tokens + 31) / 32 * 32);
    }
  }
  EXPECT_GT(fits, 100);
  EXPECT_LT(fits, 300);
}

TEST(PlanShards, LargerNodesGetMore) {
  const Model model = Load({.layers = 12});
  const std::vector<PlanNode> nodes = Nodes({8'000'000, 24'000'000});
  const auto plan = PlanShards(model.catalogue, model.config, nodes, {.context_tokens = 4096, .step_tokens_max = 32});
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->stages[0].last_layer, 3);
}

TEST(PlanShards, EmbeddingFirstHeadLast) {
  const Model model = Load({.layers = 4});
  const auto plan = PlanShards(model.catalogue, model.config, Nodes({1 << 24, 1 << 24}), {.context_tokens = 64});
  ASSERT_TRUE(plan.ok()) << plan.status();
  const std::vector<std::string> first = Names(TensorsOfStage(model.catalogue, *plan, 0));
  const std::vector<std::string> last = Names(TensorsOfStage(model.catalogue, *plan, 1));
  EXPECT_THAT(first, ::testing::IsSupersetOf({"token_embd.weight", "rope_freqs.weight", "blk.0.attn_q.weight"}));
  EXPECT_THAT(first, ::testing::Not(::testing::Contains("output.weight")));
  EXPECT_THAT(last, ::testing::IsSupersetOf({"output.weight", "output_norm.weight", "rope_freqs.weight"}));
  EXPECT_THAT(last, ::testing::Not(::testing::Contains("token_embd.weight")));
}

TEST(PlanShards, TiedEmbeddingOnBothEndsOnce) {
  const Model model = Load({.layers = 2, .tied = true});
  const auto two = PlanShards(model.catalogue, model.config, Nodes({1 << 24, 1 << 24}), {.context_tokens = 64});
  ASSERT_TRUE(two.ok()) << two.status();
  EXPECT_THAT(Names(TensorsOfStage(model.catalogue, *two, 0)), ::testing::Contains("token_embd.weight").Times(1));
  EXPECT_THAT(Names(TensorsOfStage(model.catalogue, *two, 1)), ::testing::Contains("token_embd.weight").Times(1));
  const auto one = PlanShards(model.catalogue, model.config, Nodes({1 << 24}), {.context_tokens = 64});
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_EQ(one->stages[0].ranks[0].weights_bytes, model.catalogue.total_bytes);
  EXPECT_THAT(Names(TensorsOfStage(model.catalogue, *one, 0)), ::testing::Contains("token_embd.weight").Times(1));
}

TEST(PlanShards, MoreNodesThanLayersLeavesNodesOut) {
  const Model model = Load({.layers = 2});
  const std::vector<PlanNode> nodes = Nodes({1'000, 8'000'000, 1'000, 8'000'000, 1'000});
  const auto plan = PlanShards(model.catalogue, model.config, nodes, {.context_tokens = 64});
  ASSERT_TRUE(plan.ok()) << plan.status();
  ASSERT_EQ(plan->stages.size(), 2u);
  EXPECT_EQ(plan->stages[0].ranks[0].node, 1);
  EXPECT_EQ(plan->stages[1].ranks[0].node, 3);
  EXPECT_THAT(PlanText(*plan, nodes), HasSubstr("unused (more nodes than layers): n0, n2, n4"));
  EXPECT_EQ(PlanJson(*plan, nodes)["unused_nodes"].size(), 3u);
}

TEST(PlanShards, ShortfallIsTheMissingMemory) {
  const Model model = Load({.layers = 4});
  const PlanOptions options{.context_tokens = 1024};
  const auto roomy = PlanShards(model.catalogue, model.config, Nodes({1 << 30}), options);
  ASSERT_TRUE(roomy.ok()) << roomy.status();
  const int64_t needed = Total(roomy->stages[0].ranks[0]);
  EXPECT_TRUE(PlanShards(model.catalogue, model.config, Nodes({needed}), options).ok());
  for (const int64_t missing : {int64_t{1}, int64_t{1000}, needed - 1}) {
    const auto plan = PlanShards(model.catalogue, model.config, Nodes({needed - missing}), options);
    ASSERT_TRUE(absl::IsResourceExhausted(plan.status())) << plan.status();
    EXPECT_THAT(std::string(plan.status().message()),
                HasSubstr("the model does not fit: " + std::to_string(missing) + " bytes ("));
  }
  // Two nodes: with the missing bytes added, the plan works.
  const auto split = PlanShards(model.catalogue, model.config, Nodes({needed / 4, needed / 4}), options);
  ASSERT_TRUE(absl::IsResourceExhausted(split.status())) << split.status();
  EXPECT_THAT(std::string(split.status().message()), HasSubstr("the fullest of 2 nodes is n"));
}

TEST(PlanShards, ChosenContextFollowsMemory) {
  const Model model = Load({.layers = 2});
  const auto roomy = PlanShards(model.catalogue, model.config, Nodes({1 << 30}), {});
  ASSERT_TRUE(roomy.ok()) << roomy.status();
  EXPECT_EQ(roomy->context_tokens, 4 * 4096);
  const int64_t without_kv = Total(roomy->stages[0].ranks[0]) - roomy->stages[0].ranks[0].kv_bytes;
  const int64_t token_bytes = roomy->stages[0].ranks[0].kv_bytes / roomy->context_tokens;
  const auto tight = PlanShards(model.catalogue, model.config, Nodes({without_kv + 1000 * token_bytes}), {});
  ASSERT_TRUE(tight.ok()) << tight.status();
  EXPECT_EQ(tight->context_tokens, 992);  // 31 blocks of 32.
  const auto short_of = PlanShards(model.catalogue, model.config, Nodes({without_kv + 511 * token_bytes}), {});
  EXPECT_TRUE(absl::IsResourceExhausted(short_of.status())) << short_of.status();
}

TEST(PlanShards, BadArgumentsAreNamed) {
  const Model model = Load({.layers = 2});
  const auto message = [&](const std::vector<PlanNode>& nodes, const PlanOptions& options) {
    const auto plan = PlanShards(model.catalogue, model.config, nodes, options);
    EXPECT_TRUE(absl::IsInvalidArgument(plan.status())) << plan.status();
    return std::string(plan.status().message());
  };
  EXPECT_THAT(message({}, {}), HasSubstr("0 nodes"));
  EXPECT_THAT(message(Nodes(std::vector<int64_t>(257, 1 << 20)), {}), HasSubstr("257 nodes; a plan needs 1 to 256"));
  EXPECT_THAT(message(Nodes({1 << 20, 0}), {}), HasSubstr("node n1 has 0 bytes of memory"));
  EXPECT_THAT(message(Nodes({1 << 20}), {.context_tokens = -1}), HasSubstr("context of -1"));
  EXPECT_THAT(message(Nodes({1 << 20}), {.step_tokens_max = 0}), HasSubstr("steps of 0 tokens"));
}

// Against trying every cut: the largest share is the smallest possible.
TEST(PlaceRanges, ExactOnSmallCases) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    const int64_t items = std::uniform_int_distribution<int64_t>(1, 7)(random);
    const int bins = std::uniform_int_distribution<int>(1, 4)(random);
    std::vector<double> weight(static_cast<size_t>(items));
    for (double& w : weight) w = std::uniform_int_distribution<int>(1, 20)(random);
    std::vector<double> size(static_cast<size_t>(bins));
    for (double& s : size) s = std::uniform_int_distribution<int>(1, 9)(random);
    const auto share = [&](int bin, int64_t first, int64_t last) {
      double sum = first == 0 ? 5 : 0;
      for (int64_t i = first; i < last; ++i) sum += weight[static_cast<size_t>(i)];
      return sum / size[static_cast<size_t>(bin)];
    };
    const bool spare = items < bins;
    const std::function<double(int, int64_t)> best = [&](int bin, int64_t first) -> double {
      if (bin == bins) return first == items ? 0 : 1e9;
      double least = spare ? best(bin + 1, first) : 1e9;
      for (int64_t last = first + 1; last <= (spare ? std::min(first + 1, items) : items); ++last) {
        least = std::min(least, std::max(share(bin, first, last), best(bin + 1, last)));
      }
      return least;
    };
    const Placement placement = PlaceRanges(items, bins, share);
    EXPECT_DOUBLE_EQ(placement.fullest, best(0, 0)) << "round " << round;
    double fullest = 0;
    for (const PlacedRange& range : placement.ranges) {
      fullest = std::max(fullest, share(range.bin, range.first, range.last));
    }
    EXPECT_DOUBLE_EQ(placement.fullest, fullest);
  }
}

TEST(PlanText, NamesNodesAndBytes) {
  const Model model = Load({.layers = 4});
  const std::vector<PlanNode> nodes = Nodes({1 << 24, 1 << 24});
  const auto plan = PlanShards(model.catalogue, model.config, nodes, {.context_tokens = 64});
  ASSERT_TRUE(plan.ok()) << plan.status();
  const std::string text = PlanText(*plan, nodes);
  EXPECT_THAT(text, HasSubstr("context  64 tokens over all sequences (2 KV blocks of 32, f16)"));
  EXPECT_THAT(text, HasSubstr("n1"));
  const nlohmann::json json = PlanJson(*plan, nodes);
  EXPECT_EQ(json["stages"].size(), 2u);
  EXPECT_EQ(json["stages"][1]["node"], "n1");
  EXPECT_EQ(json["stages"][1]["last_layer"], 4);
  EXPECT_EQ(json["stages"][0]["total_bytes"], Total(plan->stages[0].ranks[0]));
}

// Nodes of one machine.
std::vector<PlanNode> Together(const std::vector<int64_t>& memory_bytes) {
  std::vector<PlanNode> nodes = Nodes(memory_bytes);
  for (PlanNode& node : nodes) node.memory_domain = "box";
  return nodes;
}

// So wide that reading weights takes longer than exchanging activations.
TinyModel Wide() { return {.layers = 6, .width = 2048, .vocabulary = 4096, .experts = 8}; }

constexpr int64_t kGib = int64_t{1} << 30;

TEST(PlanShards, NodesOfOneMachineShareEveryLayerWhereThatIsFaster) {
  const Model model = Load(Wide());
  const std::vector<PlanNode> nodes = Together({kGib, kGib});
  const PlanOptions options{.context_tokens = 64, .step_tokens_max = 16};
  const auto plan = PlanShards(model.catalogue, model.config, nodes, options);
  ASSERT_TRUE(plan.ok()) << plan.status();
  ASSERT_EQ(plan->stages.size(), 1u);
  EXPECT_EQ(plan->stages[0].first_layer, 0);
  EXPECT_EQ(plan->stages[0].last_layer, 6);
  ASSERT_EQ(plan->stages[0].ranks.size(), 2u);
  EXPECT_THAT(plan->reason, HasSubstr("ranks that share every layer"));
  // The model once, and what every rank has once more.
  const auto alone = PlanShards(model.catalogue, model.config, Nodes({4 * kGib}), options);
  int64_t weights_bytes = 0, kv_bytes = 0, replicated_bytes = 0;
  for (const PlanRank& rank : plan->stages[0].ranks) weights_bytes += rank.weights_bytes, kv_bytes += rank.kv_bytes;
  for (const CatalogueEntry& entry : model.catalogue.entries) {
    const int64_t sum = RankBytes(entry, model.config, 0, 2) + RankBytes(entry, model.config, 1, 2);
    EXPECT_TRUE(sum == entry.tensor.size_bytes || sum == 2 * entry.tensor.size_bytes) << entry.tensor.name;
    replicated_bytes += sum - entry.tensor.size_bytes;
  }
  EXPECT_EQ(weights_bytes, alone->stages[0].ranks[0].weights_bytes + replicated_bytes);
  EXPECT_LT(replicated_bytes, alone->stages[0].ranks[0].weights_bytes / 4);
  EXPECT_EQ(kv_bytes, alone->stages[0].ranks[0].kv_bytes);
  EXPECT_GT(plan->stream_tokens_per_s, 1.5 * alone->stream_tokens_per_s);
  const std::string text = PlanText(*plan, nodes);
  EXPECT_THAT(text, HasSubstr("0.1   n1"));
  EXPECT_EQ(PlanJson(*plan, nodes)["stages"][1]["ranks"], 2);
}

TEST(PlanShards, HeadsThatDoNotDivideAreOnEveryRank) {
  TinyModel tiny = Wide();
  tiny.more_metadata = {KvU32("llama.attention.head_count_kv", 1)};
  const Model model = Load(tiny);
  const auto alone = PlanShards(model.catalogue, model.config, Nodes({4 * kGib}), {.context_tokens = 64});
  const auto plan = PlanShards(model.catalogue, model.config, Together({kGib, kGib}), {.context_tokens = 64});
  ASSERT_TRUE(plan.ok()) << plan.status();
  ASSERT_EQ(plan->stages.size(), 1u) << plan->reason;
  ASSERT_EQ(plan->stages[0].ranks.size(), 2u);
  for (const PlanRank& rank : plan->stages[0].ranks) {
    EXPECT_EQ(rank.kv_bytes, alone->stages[0].ranks[0].kv_bytes);
    EXPECT_LT(rank.weights_bytes, alone->stages[0].ranks[0].weights_bytes);
  }
  for (const CatalogueEntry& entry : model.catalogue.entries) {
    if (entry.tensor.name == "blk.0.attn_k.weight" || entry.tensor.name == "blk.0.attn_q.weight") {
      EXPECT_EQ(RankBytes(entry, model.config, 1, 2), entry.tensor.size_bytes);
    } else if (entry.tensor.name == "blk.0.attn_output.weight") {
      EXPECT_EQ(RankBytes(entry, model.config, 1, 2), entry.tensor.size_bytes / 2);
    }
  }
}

TEST(PlanShards, SaysWhyAPipelineItIs) {
  struct Case {
    TinyModel tiny;
    std::vector<PlanNode> nodes;
    PlanOptions options;
    const char* reason;
  };
  std::vector<PlanNode> apart = Together({kGib, kGib});
  apart[1].memory_domain = "other box";
  const auto on_gpus = [](const RankLink& first, const RankLink& second) {
    std::vector<PlanNode> nodes = Together({kGib, kGib});
    nodes[0].link = first, nodes[1].link = second;
    for (PlanNode& node : nodes) node.gpu = !node.link.device.empty();
    return nodes;
  };
  const RankLink gpu = {.transport = "NCCL 2.28.9", .device = "a", .read_bytes_per_s = 1e9};
  RankLink older = gpu, without = gpu;
  older.transport = "NCCL 2.27.3", older.device = "b";
  without.transport = "", without.missing = "NCCL: libnccl.so.2: no such file", without.device = "b";
  const std::vector<Case> cases = {
      {Wide(), Together({kGib, kGib}), {.objective = PlanObjective::kThroughput}, "for throughput"},
      {Wide(), Together({kGib, kGib}), {.remote = true}, "every rank would fetch all of a remote model"},
      {Wide(), apart, {}, "n0 and n1 do not share a machine's memory"},
      {Wide(), Nodes({kGib, kGib}), {}, "n0 and n1 do not share a machine's memory"},
      {Wide(), on_gpus(gpu, older), {}, "n0 exchanges by NCCL 2.28.9, n1 by NCCL 2.27.3"},
      {Wide(), on_gpus(gpu, without), {}, "n1 cannot be a rank: NCCL: libnccl.so.2: no such file"},
      {Wide(), on_gpus(gpu, gpu), {}, "n0 and n1 compute on one GPU"},
      {Wide(),
       on_gpus(gpu, {.transport = "UCX"}),
       {.objective = PlanObjective::kThroughput},
       "n0 exchanges by NCCL 2.28.9, n1 by UCX"},
      {Wide(), Together({4 * kGib, 64 << 20}), {.context_tokens = 64, .step_tokens_max = 1}, "does not fit"},
      // So small that waiting for one another costs more than it gains.
      {{.layers = 4}, Together({kGib, kGib}), {}, "a pipeline; one stream is predicted at"},
  };
  for (const Case& one : cases) {
    const Model model = Load(one.tiny);
    const auto plan = PlanShards(model.catalogue, model.config, one.nodes, one.options);
    ASSERT_TRUE(plan.ok()) << plan.status() << " " << one.reason;
    EXPECT_EQ(plan->stages.size(), one.nodes.size()) << one.reason;
    EXPECT_THAT(plan->reason, HasSubstr(one.reason));
    EXPECT_THAT(PlanText(*plan, one.nodes), HasSubstr(one.reason));
  }
}

}  // namespace
}  // namespace barn
