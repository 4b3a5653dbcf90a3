#include "worker/model/slice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <set>

#include "sharding/catalogue.h"
#include "sharding/plan.h"
#include "tests/worker/model/oracle_model.h"

namespace barn {
namespace {

using testing::HasSubstr;

class SliceTest : public testing::Test {
 protected:
  SliceOptions Options(const OracleModel& model) {
    const int64_t layers = ReadModelConfig(*model.header)->layers;
    return {.model = model.header.get(),
            .weights = model.weights.get(),
            .device = device_.get(),
            .first_layer = 0,
            .last_layer = layers,
            .kv_blocks = 4,
            .kv_block_tokens = 8,
            .step_tokens_max = 16,
            .context_tokens = 64};
  }

  std::string StepError(Slice& slice, const SequenceStep& sequence, std::vector<int32_t> logit_rows = {0}) {
    const absl::Status status =
        slice.ForwardToLogits({.sequences = {&sequence, 1}, .activations = {}}, logit_rows,
                              [](int64_t, Tensor) { ADD_FAILURE() << "a refused step gave logits"; });
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return std::string(status.message());
  }

  std::unique_ptr<Device> device_ = *CreateCpuDevice({.threads = 1, .pin = false});
};

TEST_F(SliceTest, RefusesStepsThatDoNotFit) {
  const OracleModel model = LoadOracle("llama-f32");
  const auto slice = *Slice::Create(Options(model));
  const std::vector<int32_t> blocks = {0, 1, 2, 3};
  const std::vector<int32_t> tokens = {5, 6, 7};
  EXPECT_THAT(StepError(*slice, {0, {}, blocks}), HasSubstr("0 rows"));
  EXPECT_THAT(StepError(*slice, {-1, tokens, blocks}), HasSubstr("position -1"));
  EXPECT_THAT(StepError(*slice, {62, tokens, blocks}), HasSubstr("context of 64"));
  EXPECT_THAT(StepError(*slice, {INT64_MAX, tokens, blocks}), HasSubstr("context of 64"));
  EXPECT_THAT(StepError(*slice, {30, tokens, blocks}), HasSubstr("need 5"));
  const std::vector<int32_t> bad_blocks = {0, 4};
  EXPECT_THAT(StepError(*slice, {7, tokens, bad_blocks}), HasSubstr("KV block 4"));
  const std::vector<int32_t> negative_blocks = {-1};
  EXPECT_THAT(StepError(*slice, {0, tokens, negative_blocks}), HasSubstr("KV block -1"));
  const std::vector<int32_t> bad_tokens = {5, 320};
  EXPECT_THAT(StepError(*slice, {0, bad_tokens, blocks}), HasSubstr("token 320"));
  const std::vector<int32_t> negative_tokens = {-7};
  EXPECT_THAT(StepError(*slice, {0, negative_tokens, blocks}), HasSubstr("token -7"));
  const std::vector<int32_t> many(17, 5);
  EXPECT_THAT(StepError(*slice, {0, many, blocks}), HasSubstr("17 rows"));
  EXPECT_THAT(StepError(*slice, {0, tokens, blocks}, {3}), HasSubstr("row 3"));
  EXPECT_THAT(StepError(*slice, {0, tokens, blocks}, {-1}), HasSubstr("row -1"));
  EXPECT_THAT(StepError(*slice, {0, tokens, blocks}, {0, 0, 0, 0}), HasSubstr("4 rows"));
  std::vector<float> out(3 * 128);
  EXPECT_FALSE(slice->Forward({}, out).ok());
}

TEST_F(SliceTest, RefusesActivationsOfTheWrongSize) {
  const OracleModel model = LoadOracle("llama-f32");
  SliceOptions options = Options(model);
  options.first_layer = 1;
  options.is_first = false;
  const auto slice = *Slice::Create(options);
  const std::vector<int32_t> blocks = {0};
  const std::vector<int32_t> tokens = {5, 6};
  EXPECT_THAT(StepError(*slice, {0, tokens, blocks}), HasSubstr("0 activations, want 256"));
}

TEST_F(SliceTest, RefusesRangesThatAreNoSlice) {
  const OracleModel model = LoadOracle("llama-f32");
  for (const auto& [first, last, is_first, is_last] : std::vector<std::tuple<int, int, bool, bool>>{
           {0, 4, true, true}, {2, 2, false, false}, {-1, 3, true, true}, {1, 3, true, true}, {0, 2, true, true}}) {
    SliceOptions options = Options(model);
    options.first_layer = first, options.last_layer = last;
    options.is_first = is_first, options.is_last = is_last;
    EXPECT_EQ(Slice::Create(options).status().code(), absl::StatusCode::kInvalidArgument) << first << " " << last;
  }
  SliceOptions options = Options(model);
  options.kv_blocks = INT64_MAX / 2;
  EXPECT_EQ(Slice::Create(options).status().code(), absl::StatusCode::kResourceExhausted);
}

// Rows behind the last attention are dropped unless wanted; that must not change the others.
TEST_F(SliceTest, WantedRowsDoNotDependOnOneAnother) {
  for (const char* name : {"llama-k-quants", "mixtral-q2_k", "command-r-q3_k", "gemma3-q4_0", "deepseek2-v3-q3_k"}) {
    const OracleModel model = LoadOracle(name);
    Pipeline pipeline(model, {.activations = ActivationMode::kInt8});
    const std::vector<int32_t> prompt = model.Ids("prompt_long");
    std::vector<int32_t> every(prompt.size());
    std::iota(every.begin(), every.end(), 0);
    const LogitRows all = pipeline.Feed(prompt, every);
    pipeline.Restart();
    const std::vector<int32_t> wanted = {29, 3, 17};
    const LogitRows some = pipeline.Feed(prompt, wanted);
    for (size_t i = 0; i < wanted.size(); ++i) {
      EXPECT_EQ(some[i], all[wanted[i]]) << name << " row " << wanted[i];
    }
    pipeline.Restart();
    EXPECT_TRUE(pipeline.Feed(std::span(prompt).first(29), {}).empty());
    EXPECT_EQ(pipeline.FeedForLast(std::span(prompt).last(1)), all.back()) << name;
  }
}

// Two sequences in one step give what each gives alone.
TEST_F(SliceTest, SequencesOfAStepDoNotMix) {
  for (const char* name : {"llama-k-quants", "gpt-oss-mxfp4", "deepseek2-lite-q4_k"}) {
    const OracleModel model = LoadOracle(name);
    SliceOptions options = Options(model);
    options.step_tokens_max = 64;
    options.kv_blocks = 8;
    const auto slice = *Slice::Create(options);
    const std::vector<int32_t> long_prompt = model.Ids("prompt_long"), short_prompt = model.Ids("prompt_short");
    const std::vector<int32_t> long_blocks = {6, 1, 4, 2}, short_blocks = {5};
    const SequenceStep both[] = {{0, short_prompt, short_blocks}, {0, long_prompt, long_blocks}};
    LogitRows together;
    const int32_t rows[] = {4, 34};
    ASSERT_TRUE(slice
                    ->ForwardToLogits({.sequences = both, .activations = {}}, rows,
                                      [&](int64_t, Tensor logits) {
                                        for (int64_t r = 0; r < logits.rows; ++r) {
                                          together.emplace_back(logits.row(r), logits.row(r) + logits.cols);
                                        }
                                      })
                    .ok());
    Pipeline alone(model, {.activations = ActivationMode::kInt8, .kv_type = KvType::kF16, .context_tokens = 64});
    EXPECT_EQ(together[0], alone.FeedForLast(short_prompt)) << name;
    alone.Restart();
    EXPECT_EQ(together[1], alone.FeedForLast(long_prompt)) << name;
  }
}

TEST_F(SliceTest, ReadsOnlyRoutedExperts) {
  int models = 0;
  for (const std::string& name : OracleNames()) {
    const OracleModel model = LoadOracle(name);
    const Catalogue catalogue = *BuildCatalogue(*model.header);
    const int64_t used = ReadModelConfig(*model.header)->experts_used;
    int64_t bytes_per_token = 0;
    for (const CatalogueEntry& entry : catalogue.entries) {
      if (entry.role == TensorRole::kExpert && entry.tensor.name.ends_with(".weight")) {
        bytes_per_token += used * entry.expert_bytes;
      }
    }
    models += bytes_per_token > 0 ? 1 : 0;
    Pipeline pipeline(model, {.activations = ActivationMode::kInt8});
    pipeline.FeedForLast(model.Ids("prompt_long"));
    const int64_t before = pipeline.device(0).counters().expert_bytes_read;
    for (const int32_t token : model.Ids("prompt_short")) {
      pipeline.FeedForLast({&token, 1});
    }
    EXPECT_EQ(pipeline.device(0).counters().expert_bytes_read - before, 5 * bytes_per_token) << name;
  }
  EXPECT_GE(models, 20);
}

// A worker holds only the tensors that the planner gives its stage; a slice must not want others.
class StageWeights : public WeightSource {
 public:
  StageWeights(WeightSource& all, const std::vector<const CatalogueEntry*>& stage) : all_(all) {
    for (const CatalogueEntry* entry : stage) {
      held_.insert(entry->tensor.name);
    }
  }

  absl::StatusOr<std::span<const std::byte>> Tensor(const GgufTensor& tensor) override {
    if (!held_.contains(tensor.name)) {
      return absl::NotFoundError("not of this stage");
    }
    return all_.Tensor(tensor);
  }
  void Drop(const GgufTensor& tensor, int64_t offset, int64_t length) override { all_.Drop(tensor, offset, length); }

 private:
  WeightSource& all_;
  std::set<std::string> held_;
};

TEST_F(SliceTest, NeedsOnlyTheTensorsOfItsStage) {
  for (const std::string& name : OracleNames()) {
    const OracleModel model = LoadOracle(name);
    const ModelConfig config = *ReadModelConfig(*model.header);
    const Catalogue catalogue = *BuildCatalogue(*model.header);
    const int64_t gib = int64_t{1} << 30;
    const PlanNode nodes[] = {{"a", gib, 1}, {"b", gib, 1}};
    const auto plan = PlanShards(catalogue, config, nodes, {.context_tokens = 256, .step_tokens_max = 16});
    ASSERT_TRUE(plan.ok()) << name << ": " << plan.status();
    ASSERT_EQ(plan->stages.size(), 2u);
    for (int stage = 0; stage < 2; ++stage) {
      StageWeights weights(*model.weights, TensorsOfStage(catalogue, *plan, stage));
      SliceOptions options = Options(model);
      options.weights = &weights;
      options.first_layer = plan->stages[stage].first_layer;
      options.last_layer = plan->stages[stage].last_layer;
      options.is_first = stage == 0;
      options.is_last = stage == 1;
      const auto slice = Slice::Create(options);
      EXPECT_TRUE(slice.ok()) << name << " stage " << stage << ": " << slice.status();
    }
  }
}

}  // namespace
}  // namespace barn
