#include "coordinator/scheduler/batcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <string>

namespace barn {
namespace {

using ::testing::ElementsAre;

class BatcherTest : public ::testing::Test {
 protected:
  BatcherTest() { sequences_.SetPool(KvBlocks(10000, 4)); }

  Sequence& Add(int prompt_tokens, int64_t max_tokens) {
    GenerateRequest request;
    request.prompt.resize(prompt_tokens);
    std::iota(request.prompt.begin(), request.prompt.end(), 7 * static_cast<int>(last_id_));  // No common prefix.
    request.max_tokens = max_tokens;
    return Add(std::move(request));
  }
  Sequence& Add(GenerateRequest request) {
    EXPECT_TRUE(sequences_.Add(++last_id_, std::move(request), 0).ok());
    sequences_.Admit(1000);
    return *sequences_.FindRunning(last_id_);
  }
  // A sequence whose prompt is computed and whose next token is known.
  Sequence& AddDecoding() {
    Sequence& sequence = Add(4, 100);
    sequence.scheduled = sequence.computed = 4;
    sequence.blocks_sent = 1;
    sequence.tokens.push_back(9);
    return sequence;
  }
  BatchStep Build() {
    request_.Clear();
    return BuildStep(limits_, ++last_step_, sequences_, request_);
  }
  static std::vector<std::pair<int64_t, int64_t>> Rows(const BatchStep& step) {
    std::vector<std::pair<int64_t, int64_t>> rows;
    for (const StepSlice& slice : step.slices) rows.emplace_back(slice.sequence_id, slice.rows);
    return rows;
  }

  BatchLimits limits_{.step_tokens_max = 16, .stages = 1, .vocabulary = 100};
  Sequences sequences_;
  proto::StepRequest request_;
  int64_t last_id_ = 0;
  int64_t last_step_ = 0;
};

using Row = std::pair<int64_t, int64_t>;

TEST_F(BatcherTest, NothingToDoIsAnEmptyStep) { EXPECT_TRUE(Build().slices.empty()); }

TEST_F(BatcherTest, CutsAPromptIntoChunksWithBlockDifferences) {
  Add(37, 5);
  EXPECT_THAT(Rows(Build()), ElementsAre(Row(1, 16)));
  EXPECT_EQ(request_.sequences(0).block_offset(), 0);
  EXPECT_EQ(request_.sequences(0).new_blocks_size(), 4);
  EXPECT_FALSE(request_.sequences(0).want_candidates());
  EXPECT_THAT(Rows(Build()), ElementsAre(Row(1, 16)));
  EXPECT_EQ(request_.sequences(0).first_position(), 16);
  EXPECT_EQ(request_.sequences(0).block_offset(), 4);
  EXPECT_THAT(Rows(Build()), ElementsAre(Row(1, 5)));
  EXPECT_EQ(request_.sequences(0).new_blocks_size(), 2);
  EXPECT_THAT(request_.sequences(0).tokens(), ElementsAre(32, 33, 34, 35, 36));
  EXPECT_TRUE(request_.sequences(0).want_candidates());
  EXPECT_TRUE(Build().slices.empty()) << "the next token is not known yet";
}

TEST_F(BatcherTest, DecodingGoesFirstAndPromptsFillTheBudget) {
  Add(40, 5);
  AddDecoding();
  AddDecoding();
  EXPECT_THAT(Rows(Build()), ElementsAre(Row(2, 1), Row(3, 1), Row(1, 14)));
}

TEST_F(BatcherTest, SeveralStagesShareTheDecodingSequences) {
  limits_.stages = 2;
  for (int i = 0; i < 5; ++i) AddDecoding();
  EXPECT_THAT(Rows(Build()), ElementsAre(Row(1, 1), Row(2, 1), Row(3, 1)));
  EXPECT_THAT(Rows(Build()), ElementsAre(Row(4, 1), Row(5, 1)));
}

TEST_F(BatcherTest, PromptRowsShrinkWithMoreStages) {
  EXPECT_EQ(PromptRows(10000, 1, 512), 512);
  EXPECT_EQ(PromptRows(512, 2, 512), 32);
  EXPECT_EQ(PromptRows(4096, 2, 512), 256);
  EXPECT_EQ(PromptRows(100000, 2, 512), 512);
  EXPECT_EQ(PromptRows(1, 4, 512), 32);
  EXPECT_EQ(PromptRows(1000, 4, 8), 8);
}

TEST_F(BatcherTest, NobodyStarves) {
  // 20 decoding sequences and 6 long prompts on a budget of 8 rows: a quarter of it is the prompts'.
  limits_.step_tokens_max = 8;
  for (int i = 0; i < 20; ++i) AddDecoding();
  for (int i = 0; i < 6; ++i) Add(500, 5);
  std::map<int64_t, int> last_served;
  int longest_decode_wait = 0, longest_prompt_wait = 0;
  for (int step = 1; step <= 300; ++step) {
    const BatchStep built = Build();
    for (const StepSlice& slice : built.slices) {
      int& longest = slice.sequence_id <= 20 ? longest_decode_wait : longest_prompt_wait;
      longest = std::max(longest, step - last_served[slice.sequence_id]);
      last_served[slice.sequence_id] = step;
      Sequence& sequence = *sequences_.FindRunning(slice.sequence_id);
      --sequence.steps_in_flight;
      if (slice.candidates > 0 && sequence.generated() < 90) sequence.tokens.push_back(1);
    }
  }
  EXPECT_LE(longest_decode_wait, 4);  // 20 sequences, 6 rows for them.
  EXPECT_LE(longest_prompt_wait, 6);  // One prompt takes the 2 rows.
}

TEST_F(BatcherTest, ScoringAsksForTheTokenAfterEachRow) {
  GenerateRequest request;
  request.prompt = {10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29};
  request.max_tokens = 0;
  request.score_from = 14;
  request.score_top_logprobs = 2;
  Add(std::move(request));
  ASSERT_EQ(Build().slices.size(), 1u);
  EXPECT_THAT(request_.sequences(0).targets(), ElementsAre(24, 25, 26));  // Rows 13, 14 and 15.
  EXPECT_EQ(request_.sequences(0).target_candidates(), 2);
  ASSERT_EQ(Build().slices.size(), 1u);
  EXPECT_THAT(request_.sequences(0).targets(), ElementsAre(27, 28, 29, 29));
  EXPECT_FALSE(request_.sequences(0).want_candidates());
}

TEST_F(BatcherTest, AStepAsksForBoundedResults) {
  limits_ = {.step_tokens_max = 512, .stages = 1, .vocabulary = 262144};
  GenerateRequest request;
  request.prompt.assign(400, 1);
  request.score_from = 0;
  request.score_top_logprobs = 262144;
  Add(request);
  // 64 MiB / (262144 candidates x 10 bytes) = 25 rows.
  EXPECT_THAT(Rows(Build()), ElementsAre(Row(1, 25)));
  for (int i = 0; i < 100; ++i) AddDecoding().request.full_logits = true;
  const BatchStep step = Build();
  EXPECT_EQ(step.slices.size(), 63u);  // 1 MiB each, and 1024 candidates.
}

TEST_F(BatcherTest, WhileSomebodyDecodesAChunkStaysWithinTheStall) {
  StepTimes cost;
  cost.Add(1, 0, absl::Milliseconds(10));
  cost.Add(0, 16, absl::Milliseconds(40));  // 2.5 ms a row.
  limits_.times = &cost;
  limits_.stall_max = absl::Milliseconds(100);
  Add(400, 5);
  Sequence& decoding = AddDecoding();
  EXPECT_THAT(Rows(Build()), ElementsAre(Row(2, 1), Row(1, 5))) << "an eighth of the bound";
  decoding.tokens.push_back(1);
  for (int i = 0; i < 200; ++i) cost.Add(1, 0, absl::Milliseconds(52));
  EXPECT_THAT(Rows(Build()), ElementsAre(Row(2, 1), Row(1, 8))) << "40 % of what a step takes";
  decoding.tokens.push_back(1);
  for (int i = 0; i < 200; ++i) cost.Add(1, 0, absl::Milliseconds(1000));
  EXPECT_THAT(Rows(Build()), ElementsAre(Row(2, 1), Row(1, 15))) << "all that the step has room for, within the bound";
  decoding.tokens.push_back(1);
  for (int i = 0; i < StepTimes::kMixedStepsMax; ++i) cost.Add(1, 8, absl::Milliseconds(1020));
  EXPECT_THAT(Rows(Build()), ElementsAre(Row(2, 1))) << "it is time to measure one without";
  decoding.finished = true;
  EXPECT_THAT(Rows(Build()), ElementsAre(Row(1, 16)));
}

TEST_F(BatcherTest, OneOfEqualPromptsIsComputedAndTheOthersFollow) {
  GenerateRequest request;
  for (int i = 0; i < 38; ++i) request.prompt.push_back(i);
  for (int i = 0; i < 3; ++i) Add(request);
  EXPECT_THAT(Rows(Build()), ElementsAre(Row(1, 16)));
  EXPECT_THAT(Rows(Build()), ElementsAre(Row(1, 16)));
  EXPECT_THAT(Rows(Build()), ElementsAre(Row(1, 6))) << "37 tokens can be found, 36 in whole blocks";
  EXPECT_THAT(Rows(Build()), ElementsAre(Row(2, 2), Row(3, 2)));
  EXPECT_EQ(request_.sequences(0).first_position(), 36);
  EXPECT_EQ(request_.sequences(0).block_offset(), 0);
  EXPECT_EQ(request_.sequences(0).new_blocks_size(), 10);
  EXPECT_EQ(request_.sequences(0).new_blocks(8), request_.sequences(1).new_blocks(8));
  EXPECT_NE(request_.sequences(0).new_blocks(9), request_.sequences(1).new_blocks(9));
}

TEST_F(BatcherTest, APromptThatIsScoredIsComputed) {
  GenerateRequest request;
  for (int i = 0; i < 38; ++i) request.prompt.push_back(i);
  request.max_tokens = 0;
  Add(request);
  while (!Build().slices.empty()) {
  }
  request.score_from = 10;  // By the row of token 9.
  Add(request);
  EXPECT_THAT(Rows(Build()), ElementsAre(Row(2, 16)));
  EXPECT_EQ(request_.sequences(0).first_position(), 8);
}

// Weights 3 and 1, long prompts of both: the rows of many steps are theirs in this proportion.
TEST_F(BatcherTest, TenantsGetRowsByWeight) {
  std::map<std::string, int64_t> rows;
  for (int i = 0; i < 4; ++i) {
    const bool big = i % 2 == 0;
    GenerateRequest request;
    request.prompt.resize(3000, i);
    request.tenant = {.name = big ? "big" : "small", .weight = big ? 3 : 1};
    Add(std::move(request));
  }
  for (int step = 0; step < 200; ++step) {
    for (const StepSlice& slice : Build().slices) {
      rows[sequences_.FindRunning(slice.sequence_id)->request.tenant.name] += slice.rows;
    }
  }
  EXPECT_NEAR(static_cast<double>(rows["big"]) / static_cast<double>(rows["small"]), 3, 0.1);
}

TEST_F(BatcherTest, WithoutABlockASequenceIsLeftOut) {
  sequences_.SetPool(KvBlocks(3, 4));
  limits_.stages = 2;
  Sequence& first = AddDecoding();
  Sequence& second = AddDecoding();
  EXPECT_THAT(Rows(Build()), ElementsAre(Row(1, 1)));
  EXPECT_THAT(Rows(Build()), ::testing::IsEmpty()) << "the one block left is gone, and the first is in flight";
  first.steps_in_flight = 0;
  EXPECT_THAT(Rows(Build()), ::testing::IsEmpty()) << "the first goes before it";
  EXPECT_EQ(second.pending(), 1);
}

TEST_F(BatcherTest, SendsEditsAndReleases) {
  GenerateRequest request;
  request.prompt = {1, 2};
  request.sampling.logit_bias = {{5, -2.0f}};
  Add(std::move(request));
  Sequence& other = AddDecoding();
  sequences_.Release(other.id);
  Build();
  ASSERT_EQ(request_.sequences(0).edits_size(), 1);
  EXPECT_EQ(request_.sequences(0).edits(0).id(), 5);
  EXPECT_EQ(request_.sequences(0).edits(0).add(), -2.0f);
  EXPECT_THAT(request_.released_sequences(), ElementsAre(2));
}

TEST_F(BatcherTest, EmbeddingsAskForTheRowsThatMakeThem) {
  limits_.embedding_floats = 5;
  const auto add = [&](Pooling pooling) {
    GenerateRequest request;
    request.prompt.resize(20);
    std::iota(request.prompt.begin(), request.prompt.end(), 30 * static_cast<int>(last_id_));
    request.max_tokens = 0;
    request.pooling = pooling;
    return Add(std::move(request)).id;
  };
  const std::map<int64_t, Pooling> wanted = {{add(Pooling::kMean), Pooling::kMean},
                                             {add(Pooling::kFirst), Pooling::kFirst},
                                             {add(Pooling::kLast), Pooling::kLast}};
  std::map<int64_t, std::vector<std::pair<int64_t, int64_t>>> pooled;  // (end of the rows, floats)
  for (int i = 0; i < 6; ++i) {
    for (const StepSlice& slice : Build().slices) {
      if (slice.pooling == Pooling::kNone) continue;
      EXPECT_EQ(slice.pooling, wanted.at(slice.sequence_id));
      pooled[slice.sequence_id].emplace_back(slice.first_position + slice.rows, slice.embedding_floats);
    }
  }
  EXPECT_EQ(pooled.at(1).back(), Row(20, 5));
  EXPECT_GE(pooled.at(1).size(), 2u);  // Of every chunk.
  EXPECT_EQ(pooled.at(2).size(), 1u);
  EXPECT_THAT(pooled.at(3), ElementsAre(Row(20, 5)));
}

}  // namespace
}  // namespace barn
