#include "sharding/gpu_memory.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/gpu_device.h"
#include "sharding/catalogue.h"
#include "sharding/plan.h"
#include "tests/simt/simt_stream.h"
#include "tests/worker/exchange/nccl_ranks.h"
#include "tests/worker/model/oracle_model.h"

// A plan counts all that a slice takes on a GPU, alone and as ranks, in the largest step that it allows and with the
// candidates of all rows that a step returns; for a model of each kind of oracles/arch.

namespace barn {
namespace {

constexpr int64_t kStepTokens = 64, kContextTokens = 512;  // Of Pipeline.

std::vector<int64_t> PlannedBytes(const OracleModel& model, int ranks, std::string* reason) {
  std::vector<PlanNode> nodes;
  for (int i = 0; i < ranks; ++i) {
    nodes.push_back({.name = std::to_string(i),
                     .memory_bytes = int64_t{1} << 40,
                     .memory_domain = "box",
                     .gpu = true,
                     // So slow that sharing pays for the smallest model.
                     .link = {.transport = "NCCL", .device = std::to_string(i), .read_bytes_per_s = 1e6}});
  }
  const auto plan = PlanShards(*BuildCatalogue(*model.header), *ReadModelConfig(*model.header), nodes,
                               {.context_tokens = kContextTokens, .kv = KvType::kF16, .step_tokens_max = kStepTokens});
  EXPECT_TRUE(plan.ok()) << plan.status();
  *reason = plan->reason;
  std::vector<int64_t> bytes;
  for (const PlanRank& rank : plan->stages.front().ranks) bytes.push_back(rank.total_bytes());
  return bytes;
}

class GpuMemory : public testing::TestWithParam<std::string> {
 protected:
  static void SetUpTestSuite() { simt::SetMachine({.devices = 2}); }
};

TEST_P(GpuMemory, IsWhatThePlanCounts) {
  const OracleModel model = LoadOracle(GetParam());
  const auto entries = static_cast<int64_t>(BuildCatalogue(*model.header)->entries.size());
  for (const int ranks : {1, 2}) {
    std::string reason;
    const std::vector<int64_t> planned = PlannedBytes(model, ranks, &reason);
    if (static_cast<int>(planned.size()) != ranks) {
      EXPECT_NE(reason.find("not shared by ranks"), std::string::npos) << reason;
      continue;
    }
    std::vector<GpuDevice*> gpus;
    PipelineOptions options{.kv_type = KvType::kF16, .ranks = ranks};
    options.make_device = [&](size_t slice) {
      auto device = *GpuDevice::Create({.index = static_cast<int>(slice), .memory_bytes = int64_t{64} << 20});
      gpus.push_back(device.get());
      return device;
    };
    if (ranks > 1) {
      options.join_ranks = [](std::span<Device* const> devices) {
        return JoinNcclRanks(devices, int64_t{1} << 16).ranks;
      };
    }
    Pipeline pipeline(model, options);
    std::vector<int32_t> tokens = model.Ids("prompt_long");
    const std::vector<int32_t> more = model.Ids("prompt_short");
    while (static_cast<int64_t>(tokens.size()) < kStepTokens) tokens.insert(tokens.end(), more.begin(), more.end());
    tokens.resize(kStepTokens);
    std::vector<int32_t> rows(kLogitRowsMax);
    for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<int32_t>(i);
    LogitRows logits = pipeline.Feed(tokens, rows);
    pipeline.Feed(tokens, rows);
    pipeline.Feed({tokens.data(), 1}, {rows.data(), 1});  // Attention of one row, over all that stands before it.
    std::vector<LogitRanking> rankings;
    for (std::vector<float>& row : logits) rankings.push_back({.logits = row, .count = 512});
    for (size_t rank = 0; rank < gpus.size(); ++rank) {
      gpus[rank]->RankLogits(rankings);
      ASSERT_TRUE(gpus[rank]->status().ok()) << gpus[rank]->status();
      // Pieces begin at multiples of 256.
      EXPECT_LE(gpus[rank]->used_bytes_max(), planned[rank] + 256 * (2 * entries + 64)) << rank << " of " << ranks;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GpuMemory,
                         testing::Values("llama-q4_k_m", "gemma2-f32", "gpt-oss-mxfp4", "qwen3moe-q3_k",
                                         "llama4-iq4_xs", "deepseek2-v3-q3_k"),
                         [](const auto& info) { return OracleTestName(info.param); });

}  // namespace
}  // namespace barn
