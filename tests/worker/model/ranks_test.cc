// One slice shared by several ranks gives the bits of one rank alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <utility>

#include "absl/time/clock.h"
#include "sharding/model_config.h"
#include "tests/worker/model/oracle_model.h"
#include "worker/exchange/in_process_collective.h"

namespace barn {
namespace {

using testing::HasSubstr;

SliceOptions Share(const OracleModel& model, Device& device, int rank, int ranks) {
  return {.model = model.header.get(),
          .weights = model.weights.get(),
          .device = &device,
          .first_layer = 0,
          .last_layer = ReadModelConfig(*model.header)->layers,
          .kv_blocks = 4,
          .kv_block_tokens = 8,
          .step_tokens_max = 16,
          .context_tokens = 64,
          .rank = rank,
          .ranks = ranks};
}

class RanksTest : public testing::TestWithParam<int> {};

std::vector<LogitRows> RunModel(const OracleModel& model, const PipelineOptions& options) {
  Pipeline pipeline(model, options);
  const std::vector<int32_t> prompt = model.Ids("prompt_long");
  std::vector<LogitRows> all;
  const std::vector<int32_t> rows = {29, 3, 17};
  all.push_back(pipeline.Feed(prompt, rows));
  for (const int32_t token : model.Ids("prompt_short")) {
    const int32_t only[] = {0};
    all.push_back(pipeline.Feed({&token, 1}, only));
  }
  return all;
}

TEST_P(RanksTest, EveryModelGivesTheBitsOfOneRank) {
  std::set<std::string> shared, refused;
  for (const std::string& name : OracleNames()) {
    const OracleModel model = LoadOracle(name);
    const auto device = *CreateCpuDevice({.threads = 1, .pin = false});
    const absl::Status fits = Slice::Create(Share(model, *device, 0, GetParam())).status();
    if (!fits.ok()) {
      EXPECT_TRUE(absl::IsUnimplemented(fits)) << name << ": " << fits;
      refused.insert(model.facts.at("architecture"));
      continue;
    }
    shared.insert(model.facts.at("architecture"));
    for (const auto& [mode, kv_type] :
         {std::pair{ActivationMode::kInt8, KvType::kF16}, std::pair{ActivationMode::kF32, KvType::kF16},
          std::pair{ActivationMode::kInt8, KvType::kQ4_0}}) {
      const std::vector<LogitRows> alone = RunModel(model, {.activations = mode, .kv_type = kv_type});
      EXPECT_EQ(RunModel(model, {.activations = mode, .kv_type = kv_type, .ranks = GetParam()}), alone)
          << name << ", " << KvTypeName(kv_type);
    }
  }
  // Also where heads do not divide: gemma3 has one KV head.
  EXPECT_THAT(shared,
              testing::IsSupersetOf({"llama", "qwen3moe", "gpt-oss", "phi3", "starcoder2", "command-r", "gemma3"}));
  EXPECT_THAT(refused, testing::IsSupersetOf({"deepseek2", "olmoe"}));
}

INSTANTIATE_TEST_SUITE_P(Ranks, RanksTest, testing::Values(2, 3, 4));

// Two stages of two ranks each.
TEST(SharedSlice, StagesMayHaveRanks) {
  const OracleModel model = LoadOracle("mixtral-q2_k");
  const std::vector<LogitRows> alone = RunModel(model, {.activations = ActivationMode::kInt8});
  EXPECT_EQ(RunModel(model, {.activations = ActivationMode::kInt8, .cuts = {1}, .ranks = 2}), alone);
}

TEST(SharedSlice, RanksHoldTheirShareOfTheCache) {
  const OracleModel model = LoadOracle("mixtral-f32");
  const auto device = *CreateCpuDevice({.threads = 1, .pin = false});
  const int64_t whole = (*Slice::Create(Share(model, *device, 0, 1)))->kv_bytes();
  EXPECT_EQ((*Slice::Create(Share(model, *device, 0, 2)))->kv_bytes(), whole / 2);
  EXPECT_EQ((*Slice::Create(Share(model, *device, 1, 2)))->kv_bytes(), whole / 2);
}

TEST(SharedSlice, ARankReadsItsShareOfTheExperts) {
  const OracleModel model = LoadOracle("mixtral-q2_k");
  Pipeline alone(model, {.activations = ActivationMode::kInt8});
  Pipeline shared(model, {.activations = ActivationMode::kInt8, .ranks = 2});
  const std::vector<int32_t> prompt = model.Ids("prompt_long");
  alone.FeedForLast(prompt);
  shared.FeedForLast(prompt);
  const int64_t whole = alone.device(0).counters().expert_bytes_read;
  EXPECT_EQ(shared.device(0).counters().expert_bytes_read, whole / 2);
  EXPECT_EQ(shared.device(1).counters().expert_bytes_read, whole / 2);
}

TEST(SharedSlice, RefusesWhatIsNoRank) {
  const OracleModel model = LoadOracle("llama-f32");
  const auto device = *CreateCpuDevice({.threads = 1, .pin = false});
  EXPECT_TRUE(absl::IsInvalidArgument(Slice::Create(Share(model, *device, 2, 2)).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Slice::Create(Share(model, *device, -1, 2)).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Slice::Create(Share(model, *device, 0, 0)).status()));
  const absl::Status latent = Slice::Create(Share(LoadOracle("deepseek2-legacy-kv_b-f16"), *device, 0, 2)).status();
  EXPECT_TRUE(absl::IsUnimplemented(latent)) << latent;
  EXPECT_THAT(latent.message(), HasSubstr("latent attention"));
}

// A rank that is gone ends the step of the others, and the slice can serve again with other ranks.
TEST(SharedSlice, AMissingRankIsAnErrorOfTheStep) {
  const OracleModel model = LoadOracle("llama-f32");
  const auto device = *CreateCpuDevice({.threads = 1, .pin = false});
  const auto slice = *Slice::Create(Share(model, *device, 0, 2));
  const std::vector<int32_t> tokens = {5, 6, 7}, blocks = {0};
  const SequenceStep sequence{.first_position = 0, .tokens = tokens, .blocks = blocks};
  const int32_t row[] = {2};
  StepInput input{.sequences = {&sequence, 1}, .activations = {}};
  const auto run = [&] {
    return slice->ForwardToLogits(input, row, [](int64_t, Tensor) { ADD_FAILURE() << "logits of half a model"; });
  };
  EXPECT_TRUE(absl::IsInvalidArgument(run())) << "without a collective";
  auto collectives = MakeInProcessCollectives(2);
  collectives[1].reset();
  input.collective = collectives[0].get();
  EXPECT_TRUE(absl::IsUnavailable(run()));
  auto stopped = MakeInProcessCollectives(2);
  std::stop_source stop;
  stop.request_stop();
  input.collective = stopped[0].get();
  input.wait = {.stop = stop.get_token()};
  EXPECT_TRUE(absl::IsAborted(run()));
  auto late = MakeInProcessCollectives(2);
  input.collective = late[0].get();
  input.wait = {.deadline = absl::Now() + absl::Milliseconds(30)};
  EXPECT_TRUE(absl::IsDeadlineExceeded(run()));
}

}  // namespace
}  // namespace barn
