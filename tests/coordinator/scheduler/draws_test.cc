#include "coordinator/scheduler/draws.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "coordinator/scheduler/results.h"
#include "tests/cluster/fake_stage.h"

namespace barn {
namespace {

using ::testing::HasSubstr;

class DrawsTest : public ::testing::Test {
 protected:
  Sequence Make(std::vector<std::string> banned, int64_t max_tokens, double temperature = 0) const {
    GenerateRequest request;
    request.prompt = {1, 2};
    request.max_tokens = max_tokens;
    request.ignore_end = true;
    request.sampling.temperature = temperature;
    request.sampling.banned_strings = std::move(banned);
    request.sampling.tokenizer = tokenizer_.get();
    Sequence sequence(1, std::move(request), 3);
    sequence.scheduled = sequence.computed = 2;
    return sequence;
  }
  // All candidates of the model after these tokens that the mask allows, if there is one.
  proto::SequenceResult Result(const std::vector<int32_t>& tokens, const grammar::TokenMask* mask = nullptr) const {
    uint64_t hash = 0;
    for (const int32_t token : tokens) hash = FakeModel::Extend(hash, token);
    proto::SequenceResult result;
    for (int k = 0; k < model_.vocabulary; ++k) {
      const int32_t id = (model_.Best(hash) + k) % model_.vocabulary;
      if (mask != nullptr && !mask->Allows(id)) continue;
      result.add_candidate_ids(id);
      result.add_candidate_logits(5 - 0.5f * static_cast<float>(k));
    }
    result.set_logsumexp(model_.LogSumExp());
    return result;
  }
  // Computes and draws until the end.
  FinishReason Run(Sequence& sequence, RequestUpdate& all) const {
    FinishReason reason = FinishReason::kNone;
    while (reason == FinishReason::kNone) {
      sequence.scheduled = sequence.computed = static_cast<int64_t>(sequence.tokens.size());
      const StepSlice slice{.sequence_id = 1, .rows = 1, .candidates = model_.vocabulary};
      const proto::SequenceResult result = Result(sequence.tokens, sequence.mask.get());
      reason = ApplyResult(slice, &result, {}, sequence, all);
      EXPECT_LE(sequence.computed, static_cast<int64_t>(sequence.tokens.size()));
      EXPECT_LE(sequence.scheduled, static_cast<int64_t>(sequence.tokens.size()));
    }
    return reason;
  }
  static std::string Text(const RequestUpdate& update) {
    std::string text;
    for (const GeneratedToken& token : update.tokens) absl::StrAppend(&text, "<", token.id, ">");
    return text;
  }

  const FakeModel model_;
  const std::unique_ptr<Tokenizer> tokenizer_ = NumberTokenizer();
};

// Greedy, in plain words: the text is looked at whole, and the token in which a banned string begins gets struck out at
// its place.
std::string PlainAnswer(const std::function<proto::SequenceResult(const std::vector<int32_t>&)>& model,
                        const std::vector<std::string>& banned, size_t max_tokens) {
  std::vector<int32_t> tokens = {1, 2};
  std::vector<std::set<int32_t>> struck(1);
  const auto text_from = [&](size_t first) {
    std::string text;
    for (size_t i = first; i < tokens.size(); ++i) absl::StrAppend(&text, "<", tokens[i], ">");
    return text;
  };
  while (tokens.size() < 2 + max_tokens) {
    const proto::SequenceResult result = model(tokens);
    for (const int32_t id : result.candidate_ids()) {
      if (struck.back().contains(id)) continue;
      tokens.push_back(id);
      break;
    }
    struck.emplace_back();
    size_t begin = 0;
    for (size_t first = 2; first < tokens.size() && begin == 0; ++first) {
      for (const std::string& string : banned) {
        if (absl::StartsWith(text_from(first), string)) begin = first;
      }
    }
    if (begin == 0) continue;
    struck.resize(begin - 1);
    struck.back().insert(tokens[begin]);
    tokens.resize(begin);
  }
  return text_from(2);
}

TEST_F(DrawsTest, BannedStringsAreTakenBack) {
  RequestUpdate free;
  Sequence unbanned = Make({}, 12);
  ASSERT_EQ(Run(unbanned, free), FinishReason::kLength);
  std::vector<std::string> banned;
  int64_t more_draws = 0;
  // Each round bans three tokens in a row of the last answer, from its middle.
  std::string text = Text(free);
  for (int round = 0; round < 5; ++round) {
    RequestUpdate update;
    std::vector<int32_t> ids;
    for (const GeneratedToken& token : free.tokens) ids.push_back(token.id);
    banned.push_back(absl::StrCat("<", ids[4], "><", ids[5], "><", ids[6], ">"));
    Sequence sequence = Make(banned, 12);
    ASSERT_EQ(Run(sequence, update), FinishReason::kLength) << update.status;
    for (const std::string& string : banned) EXPECT_FALSE(absl::StrContains(Text(update), string)) << string;
    EXPECT_EQ(Text(update), PlainAnswer([&](const auto& tokens) { return Result(tokens); }, banned, 12));
    EXPECT_EQ(update.tokens.size(), 12u);
    EXPECT_NE(Text(update), text);
    more_draws += sequence.sampler.draws() - 12;
    text = Text(update);
    free = update;
  }
  EXPECT_GE(more_draws, 15) << "three draws are taken back each time";
}

// Nobody sees a token before it can no longer be taken back.
TEST_F(DrawsTest, WhatMayBeTakenBackIsHeld) {
  RequestUpdate free;
  Sequence unbanned = Make({}, 4);
  Run(unbanned, free);
  const std::string first_two = absl::StrCat("<", free.tokens[0].id, "><", free.tokens[1].id, ">");
  Sequence sequence = Make({first_two}, 4);
  RequestUpdate update;
  const StepSlice slice{.sequence_id = 1, .rows = 1, .candidates = model_.vocabulary};
  proto::SequenceResult result = Result(sequence.tokens);
  EXPECT_EQ(ApplyResult(slice, &result, {}, sequence, update), FinishReason::kNone);
  EXPECT_TRUE(update.tokens.empty()) << "it may be the beginning";
  sequence.scheduled = sequence.computed = 3;
  result = Result(sequence.tokens);
  EXPECT_EQ(ApplyResult(slice, &result, {}, sequence, update), FinishReason::kNone);
  ASSERT_EQ(sequence.tokens.size(), 3u) << "two taken back, one drawn";
  EXPECT_NE(sequence.tokens[2], free.tokens[0].id);
  EXPECT_EQ(sequence.computed, 2);
  EXPECT_EQ(sequence.scheduled, 2);
}

// A sequence that was preempted counts as a prompt up to where it was; when it goes back behind that it decodes again.
TEST_F(DrawsTest, WhoGoesBackBehindItsStartStillDecodes) {
  RequestUpdate update;
  Sequence unbanned = Make({}, 4);
  Run(unbanned, update);
  Sequence sequence = Make({absl::StrCat("<", update.tokens[0].id, "><", update.tokens[1].id, ">")}, 4);
  const StepSlice slice{.sequence_id = 1, .rows = 1, .candidates = model_.vocabulary};
  proto::SequenceResult result = Result(sequence.tokens);
  ApplyResult(slice, &result, {}, sequence, update);
  sequence.scheduled = sequence.computed = sequence.known_at_start = 3;  // Began again, and is computed.
  result = Result(sequence.tokens);
  ApplyResult(slice, &result, {}, sequence, update);
  ASSERT_EQ(sequence.known(), 3);
  EXPECT_EQ(sequence.pending(), 1);
  sequence.scheduled = 3;
  EXPECT_TRUE(sequence.decoding()) << "no rows are left to compute";
}

// The draw after a rewind is from the old distribution without what was banned.
TEST_F(DrawsTest, DrawsAgainWithATemperature) {
  for (uint64_t seed = 0; seed < 30; ++seed) {
    Sequence sequence = Make({"<3>", "<5><7>", "<0><"}, 20, 1.5);
    RequestUpdate update;
    ASSERT_EQ(Run(sequence, update), FinishReason::kLength) << update.status;
    EXPECT_FALSE(absl::StrContains(Text(update), "<3>"));
    EXPECT_FALSE(absl::StrContains(Text(update), "<5><7>"));
    EXPECT_FALSE(absl::StrContains(Text(update), "<0><"));
    for (const GeneratedToken& token : update.tokens) EXPECT_LT(token.logprob, 0);
  }
}

TEST_F(DrawsTest, AGrammarGoesBackWithTheTokens) {
  Vocabulary vocabulary;
  vocabulary.model = "llama";
  for (int id = 0; id < model_.vocabulary; ++id) vocabulary.tokens.push_back(absl::StrCat("<", id, ">"));
  const auto spelled = *Tokenizer::Create(std::move(vocabulary));
  const grammar::Constraint constraint{
      .grammar = *grammar::Grammar::Compile({.gbnf = "root ::= (\"<\" [0-9] \">\"){12}"}),
      .tokens = std::make_shared<const grammar::TokenTrie>(*grammar::TokenTrie::Create(*spelled))};
  const auto matchers = grammar::Matchers::Create();
  int64_t more_draws = 0;
  for (int seed = 0; seed < 20; ++seed) {
    Sequence sequence = Make({"3><", "5><1", "<0>", "7><8><", "9><2><4"}, 40, seed % 2);
    sequence.matcher = matchers->Start(constraint);
    sequence.mask = *sequence.matcher->Mask();
    sequence.tokens.push_back(seed);
    sequence.prompt_tokens = 3;
    RequestUpdate update;
    ASSERT_EQ(Run(sequence, update), FinishReason::kEnd) << update.status;
    EXPECT_EQ(update.tokens.size(), 12u);
    for (const GeneratedToken& token : update.tokens) EXPECT_LT(token.id, 10);
    for (const char* banned : {"3><", "5><1", "<0>", "7><8><", "9><2><4"}) {
      EXPECT_FALSE(absl::StrContains(Text(update), banned)) << Text(update);
    }
    more_draws += sequence.sampler.draws() - 12;
  }
  EXPECT_GT(more_draws, 20);
}

TEST_F(DrawsTest, WhatBansEverythingEndsWithAnError) {
  Sequence sequence = Make({"<"}, 20);
  RequestUpdate update;
  EXPECT_EQ(Run(sequence, update), FinishReason::kError);
  EXPECT_THAT(std::string(update.status.message()), HasSubstr("banned_strings leave nothing to say after 0 tokens"));
  EXPECT_TRUE(update.tokens.empty());
}

// Whatever is held or banned, the limit counts what stays, and the grammar stands behind what closes the thoughts.
TEST_F(DrawsTest, ALimitOfThoughtsGoesBackWithTheTokens) {
  for (int seed = 0; seed < 20; ++seed) {
    ThoughtLimit limit{
        .tokens = 8, .ends = {"no end"}, .begun = true, .closing = {40, 41}, .tokenizer = tokenizer_.get()};
    Sequence sequence = Make({"3><", "5><1", "<0>", "7><8><", "9><2><4", "1><"}, 20, seed % 2);
    sequence.thoughts.emplace(std::make_shared<const ThoughtLimit>(std::move(limit)));
    sequence.tokens.push_back(seed);
    sequence.prompt_tokens = 3;
    RequestUpdate update;
    ASSERT_EQ(Run(sequence, update), FinishReason::kLength) << update.status;
    ASSERT_EQ(update.tokens.size(), 20u);
    EXPECT_EQ(update.tokens[8].id, 40) << Text(update);
    EXPECT_EQ(update.tokens[9].id, 41);
    EXPECT_EQ(update.tokens[8].logprob, 0);
  }
}

TEST_F(DrawsTest, AGrammarSaysWhetherThoughtsMayEnd) {
  Vocabulary vocabulary;
  vocabulary.model = "llama";
  for (int id = 0; id < model_.vocabulary; ++id) vocabulary.tokens.push_back(absl::StrCat("<", id, ">"));
  const auto spelled = *Tokenizer::Create(std::move(vocabulary));
  const auto tokens = std::make_shared<const grammar::TokenTrie>(*grammar::TokenTrie::Create(*spelled));
  const auto matchers = grammar::Matchers::Create();
  const auto answer = [&](const char* gbnf) {
    ThoughtLimit limit{.tokens = 4, .ends = {"no end"}, .begun = true, .closing = {40}, .tokenizer = tokenizer_.get()};
    Sequence sequence = Make({}, 20);
    sequence.thoughts.emplace(std::make_shared<const ThoughtLimit>(std::move(limit)));
    sequence.matcher = matchers->Start({.grammar = *grammar::Grammar::Compile({.gbnf = gbnf}), .tokens = tokens});
    sequence.mask = *sequence.matcher->Mask();
    RequestUpdate update;
    EXPECT_EQ(Run(sequence, update), FinishReason::kEnd) << update.status;
    std::vector<int32_t> ids;
    for (const GeneratedToken& token : update.tokens) ids.push_back(token.id);
    return ids;
  };
  const std::vector<int32_t> closes = answer("root ::= (\"<\" [0-9] \">\"){4,} \"<40>\" (\"<1\" [0-9] \">\"){3}");
  ASSERT_EQ(closes.size(), 8u);
  EXPECT_EQ(closes[4], 40);
  EXPECT_GE(closes[5], 10);
  const std::vector<int32_t> may_not = answer("root ::= (\"<\" [0-9] \">\"){8}");
  ASSERT_EQ(may_not.size(), 8u);
  EXPECT_LT(*std::max_element(may_not.begin(), may_not.end()), 10);
}

// Two tokens are left of all, each banned after itself and after the other: whatever comes third is taken back.
TEST_F(DrawsTest, TheWorkOfBansIsBounded) {
  std::vector<std::string> banned;
  for (int a = 0; a < model_.vocabulary; ++a) banned.push_back(absl::StrCat("><", a, "><"));
  banned.push_back("><");
  Sequence sequence = Make(banned, 1000);
  RequestUpdate update;
  const FinishReason reason = Run(sequence, update);
  EXPECT_TRUE(reason == FinishReason::kError || reason == FinishReason::kLength);
  EXPECT_LE(sequence.sampler.draws(), 8 * 1000 + 64 + 1);
}

}  // namespace
}  // namespace barn
