#include <algorithm>

#include "tests/worker/model/rounded_oracle.h"

// Every model of oracles/arch with activations rounded to int8 on the CPU.

namespace barn {
namespace {

const PipelineOptions kInt8 = {.activations = ActivationMode::kInt8, .kv_type = KvType::kF32};

class Int8Oracle : public RoundedOracle {};

TEST_P(Int8Oracle, MatchesButForTippedExperts) {
  Pipeline pipeline(model_, kInt8);
  CheckUnforced(pipeline);
  CheckPrompts(pipeline);
}

TEST_P(Int8Oracle, ContinuesGreedilyAsTheReference) {
  if (model_.quantized() && !model_.facts.at("greedy_equals_dequantized").get<bool>()) {
    return;  // The reference's own two runs continue differently.
  }
  Pipeline pipeline(model_, kInt8);
  std::vector<float> gaps;
  const std::vector<int32_t> want = model_.Ids("greedy_ids");
  const std::vector<int32_t> ids = pipeline.Greedy(model_.Ids("prompt_long"), 16, &gaps);
  const auto difference = std::mismatch(ids.begin(), ids.end(), want.begin());
  if (difference.first != ids.end()) {
    const size_t step = difference.first - ids.begin();
    EXPECT_LE(model_.facts.at("greedy_gap")[step].get<float>(), Tolerance()) << "greedy token " << step;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Int8Oracle, testing::ValuesIn(OracleNames()),
                         [](const auto& info) { return OracleTestName(info.param); });

}  // namespace
}  // namespace barn
