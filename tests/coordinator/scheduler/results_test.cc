#include "coordinator/scheduler/results.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

namespace barn {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int kVocabulary = 4;

// A step of one sequence that wants everything: 3 rows, 2 targets, 2 candidates, all logits.
BatchStep TestStep() {
  BatchStep step;
  step.slices.push_back({.sequence_id = 9,
                         .first_position = 0,
                         .rows = 3,
                         .candidates = 2,
                         .full_logits = true,
                         .targets = 2,
                         .target_candidates = 1});
  step.slices.push_back({.sequence_id = 10, .first_position = 0, .rows = 1});
  return step;
}

proto::StepResult GoodResult() {
  proto::StepResult result;
  proto::SequenceResult& sequence = *result.add_sequences();
  sequence.set_sequence_id(9);
  sequence.add_candidate_ids(3);
  sequence.add_candidate_ids(1);
  sequence.add_candidate_logits(2.5f);
  sequence.add_candidate_logits(-INFINITY);
  sequence.set_logsumexp(3);
  const std::vector<float> logits = {-1, -INFINITY, 0, 2.5f};
  sequence.set_full_logits(std::string(reinterpret_cast<const char*>(logits.data()), 16));
  for (int i = 0; i < 2; ++i) {
    proto::TargetScore& score = *sequence.add_scores();
    score.set_logit(1);
    score.set_logsumexp(2.5);
    score.add_candidate_ids(0);
    score.add_candidate_logits(1.5f);
    score.set_best(i == 1);
  }
  return result;
}

TEST(MatchResults, TakesWhatWasAskedFor) {
  const proto::StepResult result = GoodResult();
  const auto matched = MatchResults(TestStep(), result, kVocabulary);
  ASSERT_TRUE(matched.ok()) << matched.status();
  EXPECT_THAT(*matched, ElementsAre(&result.sequences(0), nullptr));
}

TEST(MatchResults, RefusesEverythingElse) {
  using Change = std::function<void(proto::StepResult&)>;
  const std::pair<const char*, Change> cases[] = {
      {"no result for sequence 9", [](auto& r) { r.clear_sequences(); }},
      {"sequence 9 has two results", [](auto& r) { *r.add_sequences() = r.sequences(0); }},
      {"sequence 77 is not in this step", [](auto& r) { r.add_sequences()->set_sequence_id(77); }},
      {"1 ids and 2 logits of candidates, 2",
       [](auto& r) { r.mutable_sequences(0)->mutable_candidate_ids()->RemoveLast(); }},
      {"3 ids and 2 logits", [](auto& r) { r.mutable_sequences(0)->add_candidate_ids(1); }},
      {"id 4 is outside the vocabulary", [](auto& r) { r.mutable_sequences(0)->set_candidate_ids(1, 4); }},
      {"id -1 is outside", [](auto& r) { r.mutable_sequences(0)->set_candidate_ids(1, -1); }},
      {"logit nan", [](auto& r) { r.mutable_sequences(0)->set_candidate_logits(0, NAN); }},
      {"logit inf", [](auto& r) { r.mutable_sequences(0)->set_candidate_logits(0, INFINITY); }},
      {"better than the one before", [](auto& r) { r.mutable_sequences(0)->set_candidate_logits(1, 9); }},
      {"logsumexp is nan", [](auto& r) { r.mutable_sequences(0)->set_logsumexp(NAN); }},
      {"full logits of 3 bytes, 16", [](auto& r) { r.mutable_sequences(0)->set_full_logits("abc"); }},
      {"full logits: entry 3 is",
       [](auto& r) { r.mutable_sequences(0)->mutable_full_logits()->replace(12, 4, "\xff\xff\xff\xff"); }},
      {"1 target scores, 2", [](auto& r) { r.mutable_sequences(0)->mutable_scores()->RemoveLast(); }},
      {"target: logit nan", [](auto& r) { r.mutable_sequences(0)->mutable_scores(1)->set_logit(NAN); }},
      {"target: logsumexp is inf", [](auto& r) { r.mutable_sequences(0)->mutable_scores(1)->set_logsumexp(INFINITY); }},
      {"0 ids and 1 logits of target",
       [](auto& r) { r.mutable_sequences(0)->mutable_scores(0)->clear_candidate_ids(); }},
      {"sequence 10: 1 ids",
       [](auto& r) {
         r.add_sequences()->set_sequence_id(10);
         r.mutable_sequences(1)->add_candidate_ids(0);
       }},
  };
  for (const auto& [part_of_message, change] : cases) {
    proto::StepResult result = GoodResult();
    change(result);
    const auto matched = MatchResults(TestStep(), result, kVocabulary);
    ASSERT_FALSE(matched.ok()) << part_of_message;
    EXPECT_EQ(matched.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(matched.status().message()), HasSubstr(part_of_message));
  }
}

Sequence TestSequence(int64_t max_tokens) {
  GenerateRequest request;
  request.prompt = {2, 0, 3};
  request.max_tokens = max_tokens;
  request.sampling.temperature = 0;
  request.top_logprobs = 1;
  request.score_from = 0;
  request.score_top_logprobs = 1;
  Sequence sequence(9, std::move(request), 0);
  sequence.scheduled = sequence.computed = 3;
  return sequence;
}

// Row r of a draft: the best is `best[r]`, the last entry is the sequence's own row.
proto::SequenceResult DraftedResult(const std::vector<int32_t>& best) {
  proto::SequenceResult result;
  const auto fill = [](int32_t id, auto& row) {
    row.add_candidate_ids(id);
    row.add_candidate_logits(2);
    row.set_logsumexp(2.5);
  };
  for (size_t i = 0; i + 1 < best.size(); ++i) fill(best[i], *result.add_rows());
  fill(best.back(), result);
  return result;
}

TEST(MatchResults, RefusesRowsThatWereNotAskedFor) {
  BatchStep step;
  step.slices.push_back({.sequence_id = 9, .rows = 3, .candidates = 1, .draft = {1, 2}});
  const auto match = [&](const std::function<void(proto::SequenceResult&)>& change) {
    proto::StepResult result;
    *result.add_sequences() = DraftedResult({1, 2, 3});
    result.mutable_sequences(0)->set_sequence_id(9);
    change(*result.mutable_sequences(0));
    return std::string(MatchResults(step, result, kVocabulary).status().message());
  };
  EXPECT_EQ(match([](auto&) {}), "");
  EXPECT_THAT(match([](auto& r) { r.add_rows(); }), HasSubstr("3 rows before the last, 2 were asked for"));
  EXPECT_THAT(match([](auto& r) { r.mutable_rows()->RemoveLast(); }), HasSubstr("1 rows before the last, 2"));
  EXPECT_THAT(match([](auto& r) { r.mutable_rows(1)->set_candidate_ids(0, 4); }), HasSubstr("outside the vocabulary"));
  EXPECT_THAT(match([](auto& r) { r.mutable_rows(1)->set_logsumexp(NAN); }), HasSubstr("logsumexp is nan"));
  EXPECT_THAT(match([](auto& r) { r.mutable_rows(0)->set_logit_deviation(-1); }), HasSubstr("deviation is -1"));
}

TEST(ApplyResult, TakesGuessesAsFarAsTheyComeTrue) {
  struct Case {
    std::vector<int32_t> draft, best, drawn;
    int64_t accepted;
    FinishReason reason;
  };
  const Case cases[] = {{{1, 3}, {1, 3, 0}, {1, 3, 0}, 2, FinishReason::kNone},
                        {{1, 3}, {1, 0, 3}, {1, 0}, 1, FinishReason::kNone},
                        {{1, 3}, {0, 3, 1}, {0}, 0, FinishReason::kNone},
                        {{2, 3}, {2, 3, 1}, {2}, 1, FinishReason::kEnd},
                        {{1, 3}, {1, 2, 1}, {1, 2}, 1, FinishReason::kEnd}};
  for (const Case& one : cases) {
    Sequence sequence = TestSequence(9);
    const auto known = sequence.tokens.size();
    sequence.scheduled = sequence.computed = sequence.known();
    const int64_t computed = sequence.computed;
    RequestUpdate update;
    const StepSlice slice{.sequence_id = 9, .rows = 3, .candidates = 1, .draft = one.draft};
    const proto::SequenceResult result = DraftedResult(one.best);
    EXPECT_EQ(ApplyResult(slice, &result, {2}, sequence, update), one.reason);
    EXPECT_EQ(std::vector<int32_t>(sequence.tokens.begin() + static_cast<int64_t>(known), sequence.tokens.end()),
              one.drawn);
    EXPECT_EQ(update.tokens.size(), one.drawn.size());
    EXPECT_EQ(sequence.computed - computed, one.accepted);
  }
}

TEST(ApplyResult, EntersScoresAndTheDrawnToken) {
  Sequence sequence = TestSequence(2);
  RequestUpdate update;
  BatchStep step = TestStep();
  proto::StepResult result = GoodResult();
  result.mutable_sequences(0)->set_candidate_logits(1, 0.5f);
  EXPECT_EQ(ApplyResult(step.slices[0], &result.sequences(0), {1}, sequence, update), FinishReason::kNone);
  ASSERT_EQ(update.tokens.size(), 1u);
  EXPECT_EQ(update.tokens[0].id, 3);
  EXPECT_FLOAT_EQ(update.tokens[0].logprob, -0.5f);
  ASSERT_EQ(update.tokens[0].top.size(), 1u);
  EXPECT_EQ(update.tokens[0].top[0].id, 3);
  EXPECT_THAT(update.tokens[0].full_logits, ElementsAre(-1, -INFINITY, 0, 2.5f));
  EXPECT_THAT(sequence.tokens, ElementsAre(2, 0, 3, 3));
  EXPECT_EQ(update.prompt_tokens_done, 3);
  // Of two targets the last belongs to the last row, which predicts no prompt token.
  ASSERT_EQ(update.prompt_scores.size(), 1u);
  EXPECT_EQ(update.prompt_scores[0].index, 2);
  EXPECT_EQ(update.prompt_scores[0].id, 3);
  EXPECT_DOUBLE_EQ(update.prompt_scores[0].logprob, -1.5);
  EXPECT_FALSE(update.prompt_scores[0].best);
  EXPECT_EQ(update.prompt_scores[0].top[0].id, 0);
  EXPECT_FLOAT_EQ(update.prompt_scores[0].top[0].logprob, -1);
}

// A grammar over three tokens: 0 is "a", 1 is "b", 2 ends, 3 is "c".
grammar::Constraint TestConstraint(const std::string& gbnf) {
  Vocabulary vocabulary;
  vocabulary.model = "llama";
  vocabulary.tokens = {"a", "b", "</s>", "c"};
  vocabulary.types = {TokenType::kNormal, TokenType::kNormal, TokenType::kControl, TokenType::kNormal};
  vocabulary.end_of_generation = {2};
  const auto tokenizer = Tokenizer::Create(std::move(vocabulary));
  auto compiled = grammar::Grammar::Compile({.gbnf = gbnf});
  EXPECT_TRUE(compiled.ok()) << compiled.status();
  return {.grammar = *compiled,
          .tokens = std::make_shared<const grammar::TokenTrie>(*grammar::TokenTrie::Create(**tokenizer))};
}

TEST(MatchResults, RefusesWhatTheMaskForbids) {
  BatchStep step = TestStep();
  step.slices[0].mask = std::make_shared<const grammar::TokenMask>(std::vector<uint64_t>{0b1010}, kVocabulary);
  EXPECT_TRUE(MatchResults(step, GoodResult(), kVocabulary).ok());
  step.slices[0].mask = std::make_shared<const grammar::TokenMask>(std::vector<uint64_t>{0b1011}, kVocabulary);
  EXPECT_TRUE(MatchResults(step, GoodResult(), kVocabulary).ok());
  step.slices[0].mask = std::make_shared<const grammar::TokenMask>(std::vector<uint64_t>{0b1001}, kVocabulary);
  const auto matched = MatchResults(step, GoodResult(), kVocabulary);
  EXPECT_THAT(std::string(matched.status().message()), HasSubstr("the mask forbids id 1"));
}

TEST(ApplyResult, MovesTheGrammarWithTheTokens) {
  const auto matchers = grammar::Matchers::Create();
  const auto draw = [&](const std::string& gbnf, Sequence& sequence, RequestUpdate& update) {
    sequence.matcher = matchers->Start(TestConstraint(gbnf));
    return ApplyResult(TestStep().slices[0], &GoodResult().sequences(0), {2}, sequence, update);
  };
  RequestUpdate update;
  Sequence goes_on = TestSequence(9);
  EXPECT_EQ(draw("root ::= \"c\" [ab]? \"c\"", goes_on, update), FinishReason::kNone);
  ASSERT_NE(goes_on.mask, nullptr);
  EXPECT_FALSE(goes_on.mask->Allows(2));
  EXPECT_TRUE(goes_on.mask->Allows(0));
  EXPECT_EQ(goes_on.mask->allowed(), 3);
  Sequence complete = TestSequence(9);
  EXPECT_EQ(draw("root ::= \"c\"", complete, update), FinishReason::kEnd);
  EXPECT_THAT(complete.tokens, ElementsAre(2, 0, 3, 3));
  Sequence stuck = TestSequence(9);
  EXPECT_EQ(draw("root ::= \"cx\"", stuck, update), FinishReason::kError);
  EXPECT_THAT(std::string(update.status.message()), HasSubstr("no token of this model's vocabulary fits"));
}

TEST(ApplyResult, KnowsTheEnd) {
  const BatchStep step = TestStep();
  const proto::StepResult result = GoodResult();
  RequestUpdate update;
  Sequence length = TestSequence(1), end = TestSequence(5), ignored = TestSequence(5);
  ignored.request.ignore_end = true;
  EXPECT_EQ(ApplyResult(step.slices[0], &result.sequences(0), {}, length, update), FinishReason::kLength);
  EXPECT_EQ(ApplyResult(step.slices[0], &result.sequences(0), {3}, end, update), FinishReason::kEnd);
  EXPECT_EQ(ApplyResult(step.slices[0], &result.sequences(0), {3}, ignored, update), FinishReason::kNone);
  EXPECT_EQ(update.tokens.size(), 3u) << "the token that ends is a token, too";
}

TEST(ApplyResult, APromptThatIsOnlyScoredEndsWhenAllOfItIsComputed) {
  const StepSlice slice{.sequence_id = 9, .first_position = 0, .rows = 2};
  RequestUpdate update;
  Sequence sequence = TestSequence(0);
  sequence.computed = 2;
  EXPECT_EQ(ApplyResult(slice, nullptr, {}, sequence, update), FinishReason::kNone);
  sequence.computed = 3;
  EXPECT_EQ(ApplyResult(slice, nullptr, {}, sequence, update), FinishReason::kLength);
}

TEST(MatchResults, EmbeddingsAreFiniteAndAsLongAsAskedFor) {
  BatchStep step;
  step.slices.push_back({.sequence_id = 9, .rows = 2, .pooling = Pooling::kMean, .embedding_floats = 3});
  const auto with = [](std::vector<float> values) {
    proto::StepResult result;
    result.add_sequences()->set_sequence_id(9);
    result.mutable_sequences(0)->set_embedding(values.data(), values.size() * sizeof(float));
    return result;
  };
  EXPECT_TRUE(MatchResults(step, with({1, -2, 3}), kVocabulary).ok());
  for (const std::vector<float>& values : {std::vector<float>{}, {1, 2}, {1, 2, 3, 4}, {1, NAN, 2}, {1, 2, INFINITY}}) {
    const auto matched = MatchResults(step, with(values), kVocabulary);
    EXPECT_THAT(matched.status().message(), HasSubstr("embedding")) << values.size();
  }
  EXPECT_THAT(MatchResults(step, {}, kVocabulary).status().message(), HasSubstr("no result"));
  step.slices[0].embedding_floats = 0;
  EXPECT_THAT(MatchResults(step, with({1}), kVocabulary).status().message(), HasSubstr("0 were asked for"));
}

}  // namespace
}  // namespace barn
