// Encoders: what they say of a text, against an own reference in f64 that transformers has checked.
#include "worker/model/encoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "tests/worker/model/encoder_model.h"

namespace barn {
namespace {

using testing::HasSubstr;

class Encoder : public testing::TestWithParam<std::string> {
 protected:
  std::vector<std::vector<int32_t>> AllIds() const {
    std::vector<std::vector<int32_t>> all;
    for (const EncoderModel::Case& one : model_.cases) all.push_back(one.ids);
    return all;
  }

  const EncoderModel model_ = LoadEncoder(GetParam());
};

// Rows have unit variance before the last norm, so their numbers are a few units large; three layers of sums of up to
// 96 products of numbers below 1, each off by 2^-24 of its magnitude and passed on by norms, stay below 2e-5.
constexpr float kTolerance = 2e-5f;

TEST_P(Encoder, MatchesTheReference) {
  for (const EncoderModel::Case& one : model_.cases) {
    const EncoderOutput got = RunEncoder(model_, {}, {one.ids});
    ASSERT_EQ(got.hidden[0].size(), one.hidden.size());
    for (size_t i = 0; i < one.hidden.size(); ++i) {
      ASSERT_NEAR(got.hidden[0][i], one.hidden[i], kTolerance) << one.ids.size() << " tokens, number " << i;
    }
  }
}

TEST_P(Encoder, SlicesRanksAndNeighboursChangeNoBit) {
  const std::vector<std::vector<int32_t>> together = AllIds();
  const EncoderOutput want = RunEncoder(model_, {.kv_type = KvType::kF16}, together);
  for (size_t i = 0; i < together.size(); ++i) {
    EXPECT_EQ(RunEncoder(model_, {.kv_type = KvType::kF16}, {together[i]}).hidden[0], want.hidden[i]) << i;
  }
  for (const int64_t cut : {1, 2}) {
    EXPECT_EQ(RunEncoder(model_, {.kv_type = KvType::kF16, .cut = cut}, together).hidden, want.hidden) << cut;
  }
  for (const int ranks : {2, 4}) {
    EXPECT_EQ(RunEncoder(model_, {.kv_type = KvType::kF16, .ranks = ranks}, together).hidden, want.hidden) << ranks;
  }
}

// What comes behind a token counts: that is what an encoder is.
TEST_P(Encoder, LooksBothWays) {
  const std::vector<int32_t> ids = model_.cases[3].ids;
  std::vector<int32_t> other = ids;
  other.back() = other.back() == 6 ? 7 : 6;
  const EncoderOutput a = RunEncoder(model_, {}, {ids});
  const EncoderOutput b = RunEncoder(model_, {}, {other});
  EXPECT_NE(a.hidden[0][0], b.hidden[0][0]);
}

INSTANTIATE_TEST_SUITE_P(Models, Encoder, testing::ValuesIn(EncoderNames()), [](const auto& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST(Reranker, ScoresMatchTheReference) {
  const EncoderModel model = LoadEncoder("bert-reranker");
  std::vector<std::vector<int32_t>> all;
  for (const EncoderModel::Case& one : model.cases) all.push_back(one.ids);
  for (const int ranks : {1, 2}) {
    const EncoderOutput got = RunEncoder(model, {.ranks = ranks, .scores = true}, all);
    ASSERT_EQ(got.scores.size(), all.size());
    for (size_t i = 0; i < all.size(); ++i) EXPECT_NEAR(got.scores[i], model.cases[i].score, 1e-4f) << i;
  }
  EXPECT_NE(model.cases[0].score, model.cases[1].score);
}

TEST(EncoderSteps, RefusesWhatItCannotGive) {
  const EncoderModel model = LoadEncoder("bert");
  const auto device = *CreateCpuDevice({.threads = 1, .pin = false});
  const auto slice = *Slice::Create(EncoderSlice(model, *device));
  EXPECT_TRUE(slice->encoder());
  EXPECT_FALSE(slice->has_scores());
  std::vector<int32_t> blocks(8);
  std::iota(blocks.begin(), blocks.end(), 0);
  const SequenceStep sequence = {.first_position = 0, .tokens = model.cases[1].ids, .blocks = blocks};
  const StepInput plain{.sequences = {&sequence, 1}, .activations = {}};
  const int32_t row[] = {0};
  const auto sink = [](int64_t, Tensor) { ADD_FAILURE(); };
  EXPECT_THAT(slice->ForwardToLogits(plain, row, sink).message(), HasSubstr("logits of an encoder"));
  StepInput scored = plain;
  std::vector<float> room(64);
  scored.score_rows = row;
  scored.scores = std::span(room).first(1);
  EXPECT_THAT(slice->ForwardToLogits(scored, {}, sink).message(), HasSubstr("without a classification head"));
  StepInput hidden = plain;
  hidden.hidden_rows = row;
  hidden.hidden = std::span(room).first(63);
  EXPECT_THAT(slice->ForwardToLogits(hidden, {}, sink).message(), HasSubstr("63 numbers"));
  const int32_t beyond[] = {2};
  hidden.hidden_rows = beyond;
  hidden.hidden = room;
  EXPECT_THAT(slice->ForwardToLogits(hidden, {}, sink).message(), HasSubstr("row 2"));
}

TEST(EncoderSteps, LearnedPositionsBoundTheContext) {
  const EncoderModel model = LoadEncoder("bert");
  const auto device = *CreateCpuDevice({.threads = 1, .pin = false});
  SliceOptions options = EncoderSlice(model, *device);
  options.context_tokens = 65;
  EXPECT_THAT(Slice::Create(options).status().message(), HasSubstr("position_embd.weight has 64 rows"));
}

}  // namespace
}  // namespace barn
