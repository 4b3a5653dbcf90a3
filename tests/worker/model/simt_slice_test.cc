#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "kernels/cuda/gpu_device.h"
#include "tests/simt/block.h"
#include "tests/worker/model/oracle_model.h"

// Every model of oracles/arch, as a worker runs it, on the simulated GPU and on the CPU.

namespace barn {
namespace {

constexpr int kGreedyTokens = 8;

std::unique_ptr<Device> MakeGpu() {
  auto device = GpuDevice::Create({.memory_bytes = int64_t{48} << 20});
  EXPECT_TRUE(device.ok()) << device.status();
  return *std::move(device);
}

PipelineOptions Options(const OracleModel& model, KvType kv_type, bool on_gpu) {
  PipelineOptions options = {.activations = model.quantized() ? ActivationMode::kInt8 : ActivationMode::kF32,
                             .kv_type = kv_type};
  if (on_gpu) options.make_device = MakeGpu;
  return options;
}

// How far sums in another order move a logit: little in f32 throughout; with rounded activations a value may fall on
// the next of 127 steps, as it does on another processor.
float Tolerance(const OracleModel& model) { return model.quantized() ? 0.15f : 1e-3f; }

class SimtSlice : public testing::TestWithParam<std::string> {};

TEST_P(SimtSlice, ContinuesAsTheCpu) {
  const OracleModel model = LoadOracle(GetParam());
  Pipeline cpu(model, Options(model, KvType::kF32, false));
  Pipeline gpu(model, Options(model, KvType::kF32, true));
  const std::vector<int32_t> prompt = model.Ids("prompt_long");
  const std::vector<int32_t> rows = {7, static_cast<int32_t>(prompt.size()) - 1};
  const LogitRows want = cpu.Feed(prompt, rows);
  const LogitRows got = gpu.Feed(prompt, rows);
  for (size_t r = 0; r < want.size(); ++r) {
    EXPECT_LE(MaxAbsDifference(got[r], want[r]), Tolerance(model)) << "row " << r;
  }
  std::vector<float> gaps, gpu_gaps;
  const std::vector<int32_t> ids = cpu.Greedy(prompt, kGreedyTokens, &gaps);
  const std::vector<int32_t> gpu_ids = gpu.Greedy(prompt, kGreedyTokens, &gpu_gaps);
  for (size_t i = 0; i < ids.size(); ++i) {
    if (gpu_ids[i] == ids[i]) continue;
    EXPECT_LE(gaps[i], 2 * Tolerance(model)) << "token " << i << ": " << gpu_ids[i] << " instead of " << ids[i];
    break;  // What follows continues another text.
  }
}

INSTANTIATE_TEST_SUITE_P(Models, SimtSlice, testing::ValuesIn(OracleNames()),
                         [](const auto& info) { return OracleTestName(info.param); });

}  // namespace
}  // namespace barn
