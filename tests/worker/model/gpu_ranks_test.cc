#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/gpu_device.h"
#include "sharding/model_config.h"
#include "tests/simt/simt_stream.h"
#include "tests/worker/exchange/nccl_ranks.h"
#include "tests/worker/model/oracle_model.h"
#include "tests/worker/model/random_adapter.h"

// One slice shared by ranks on simulated GPUs, which exchange by the stand-in for NCCL, gives the bits of one GPU:
// every value is computed by one rank as one device alone would. gpu_slice_test holds that one to the reference.

namespace barn {
namespace {

constexpr int64_t kFloatsMax = int64_t{1} << 18;

PipelineOptions OnGpus(int ranks, KvType kv_type) {
  PipelineOptions options{.kv_type = kv_type, .ranks = ranks};
  options.make_device = [](size_t slice) {
    auto device = GpuDevice::Create({.index = static_cast<int>(slice), .memory_bytes = int64_t{48} << 20});
    EXPECT_TRUE(device.ok()) << device.status();
    return *std::move(device);
  };
  if (ranks > 1) {
    options.join_ranks = [](std::span<Device* const> devices) { return JoinNcclRanks(devices, kFloatsMax).ranks; };
  }
  return options;
}

std::vector<LogitRows> RunModel(const OracleModel& model, int ranks, KvType kv_type) {
  Pipeline pipeline(model, OnGpus(ranks, kv_type));
  std::vector<LogitRows> all;
  const std::vector<int32_t> rows = {29, 3, 17}, none = {};
  all.push_back(pipeline.Feed(model.Ids("prompt_long"), rows));
  all.push_back(pipeline.Feed(model.Ids("prompt_short"), none));  // Nobody reads what the device computes.
  for (const int32_t token : {7, 200}) all.push_back({pipeline.FeedForLast({&token, 1})});
  return all;
}

bool CanBeShared(const OracleModel& model, int ranks) {
  const auto device = *CreateCpuDevice({.threads = 1, .pin = false});
  const absl::Status status = Slice::Create({.model = model.header.get(),
                                             .weights = model.weights.get(),
                                             .device = device.get(),
                                             .first_layer = 0,
                                             .last_layer = ReadModelConfig(*model.header)->layers,
                                             .kv_blocks = 1,
                                             .step_tokens_max = 1,
                                             .ranks = ranks})
                                  .status();
  EXPECT_TRUE(status.ok() || absl::IsUnimplemented(status)) << status;
  return status.ok();
}

class GpuRanks : public testing::TestWithParam<std::string> {
 protected:
  static void SetUpTestSuite() { simt::SetMachine({.devices = 4}); }
};

TEST_P(GpuRanks, GiveTheBitsOfOneGpu) {
  const OracleModel model = LoadOracle(GetParam());
  if (!CanBeShared(model, 2)) {
    const std::string architecture = model.facts.at("architecture");
    EXPECT_THAT((std::vector<std::string>{"deepseek2", "olmoe"}), testing::Contains(architecture));
    return;
  }
  EXPECT_EQ(RunModel(model, 2, KvType::kF16), RunModel(model, 1, KvType::kF16));
}

INSTANTIATE_TEST_SUITE_P(Models, GpuRanks, testing::ValuesIn(OracleNames()),
                         [](const auto& info) { return OracleTestName(info.param); });

// Every rank has all of A and its rows of B, so an adapter costs no exchange and changes no bits.
TEST(GpuRanksWithAdapters, GiveTheBitsOfOneGpu) {
  simt::SetMachine({.devices = 4});
  const std::vector<int32_t> rows = {29, 3, 17};
  for (const char* name : {"llama-f32", "mixtral-f32"}) {
    const OracleModel model = LoadOracle(name);
    const RandomAdapter adapter = MakeAdapter(
        model, [](const GgufTensor& tensor) { return tensor.name.ends_with(".weight"); }, 5, 8, 1);
    const auto run = [&](int ranks, bool adapted) {
      Pipeline pipeline(model, OnGpus(ranks, KvType::kF16));
      pipeline.LoadAdapter(1, *adapter.Read(*model.header));
      if (adapted) pipeline.UseAdapters({{1, 1.0f}});
      return pipeline.Feed(model.Ids("prompt_long"), rows);
    };
    const LogitRows alone = run(1, true);
    EXPECT_EQ(run(2, true), alone) << name;
    EXPECT_NE(run(2, false), alone) << name;
  }
}

// Unequal shares, and more ranks than some models have heads for.
TEST(ManyGpuRanks, GiveTheBitsOfOneGpu) {
  simt::SetMachine({.devices = 4});
  for (const char* name : {"llama-q4_k_m", "gpt-oss-mxfp4"}) {
    const OracleModel model = LoadOracle(name);
    const std::vector<LogitRows> alone = RunModel(model, 1, KvType::kQ8_0);
    for (const int ranks : {3, 4}) {
      if (CanBeShared(model, ranks)) {
        EXPECT_EQ(RunModel(model, ranks, KvType::kQ8_0), alone) << name << ", " << ranks;
      }
    }
  }
}

}  // namespace
}  // namespace barn
