#include "coordinator/text/sampling/dry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>

#include "tests/coordinator/text/oracle.h"

namespace barn {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

std::map<int32_t, double> Penalties(Dry& dry, std::span<const int32_t> tokens) {
  dry.Update(tokens);
  std::vector<LogitEdit> edits;
  dry.AddEdits(tokens, edits);
  std::map<int32_t, double> out;
  int32_t last = -1;
  for (const LogitEdit& edit : edits) {
    EXPECT_GT(edit.id, last) << "ids ascend";
    last = edit.id;
    out[edit.id] = -edit.add;
  }
  return out;
}

// Compares the end of the tokens with every earlier place.
std::map<int32_t, double> PlainPenalties(const SamplingParams& params, std::span<const int32_t> tokens) {
  const int64_t n = std::ssize(tokens);
  const int64_t window = params.dry_penalty_last_n < 0 ? n : params.dry_penalty_last_n;
  const int64_t first = std::max<int64_t>(0, n - window);
  std::map<int32_t, int64_t> longest;
  for (int64_t end = first + 1; end < n; ++end) {
    int64_t length = 0;
    while (end - length > first && tokens[end - 1 - length] == tokens[n - 1 - length]) ++length;
    if (length >= params.dry_allowed_length) longest[tokens[end]] = std::max(longest[tokens[end]], length);
  }
  std::map<int32_t, double> out;
  for (const auto& [id, length] : longest) {
    out[id] = params.dry_multiplier * std::pow(params.dry_base, length - params.dry_allowed_length);
  }
  return out;
}

TEST(Dry, AgreesWithComparingEveryPlace) {
  std::mt19937 random(11);
  for (const int64_t window : {-1, 0, 1, 13, 40}) {
    for (const int64_t allowed : {1, 2, 4}) {
      SamplingParams params;
      params.dry_multiplier = 0.8;
      params.dry_base = 1.3;
      params.dry_allowed_length = allowed;
      params.dry_penalty_last_n = window;
      Dry dry(params);
      std::vector<int32_t> tokens;
      for (int i = 0; i < 120; ++i) {
        // One by one, and at times many at once, which takes another way.
        const size_t more = i == 0 || i == 60 ? 40 : 1;
        for (size_t k = 0; k < more; ++k) {
          const bool repeat = tokens.size() > 9 && random() % 4 != 0;
          tokens.push_back(repeat ? tokens[tokens.size() - 7] : static_cast<int32_t>(random() % 3));
        }
        const auto found = Penalties(dry, tokens);
        const auto expected = PlainPenalties(params, tokens);
        ASSERT_EQ(found.size(), expected.size()) << "window " << window << " after " << tokens.size();
        for (const auto& [id, penalty] : expected) {
          EXPECT_NEAR(found.at(id), std::min(penalty, 1e6), std::min(penalty, 1e6) * 1e-6);
        }
      }
    }
  }
}

TEST(Dry, TheLongestRepetitionCounts) {
  SamplingParams params;
  params.dry_multiplier = 1;
  params.dry_base = 2;
  Dry dry(params);
  // 5 6 7 then 8, and 6 7 then 9, and 7 then 1.
  const std::vector<int32_t> tokens = {5, 6, 7, 8, 0, 6, 7, 9, 2, 7, 1, 5, 6, 7};
  EXPECT_THAT(Penalties(dry, tokens), ElementsAre(Pair(8, 2), Pair(9, 1)));
}

class DryBreakers : public ::testing::Test {
 protected:
  std::unique_ptr<Tokenizer> tokenizer_ = LoadTokenizer(VocabularyPath("llama-bpe"));
  std::map<int32_t, double> After(const std::string& text, std::vector<std::string> breakers) {
    SamplingParams params;
    params.dry_multiplier = 1;
    params.dry_sequence_breakers = std::move(breakers);
    params.tokenizer = tokenizer_.get();
    const auto tokens = *tokenizer_->Encode(text, {.add_special = false});
    Dry at_once(params), stepwise(params);
    for (size_t i = 1; i < tokens.size(); ++i) stepwise.Update(std::span(tokens).first(i));
    const auto penalties = Penalties(at_once, tokens);
    EXPECT_EQ(penalties, Penalties(stepwise, tokens)) << text;
    return penalties;
  }
  int32_t Id(const std::string& text) { return tokenizer_->Encode(text, {.add_special = false})->at(0); }
};

TEST_F(DryBreakers, StopARepetition) {
  const std::string text = "one two three four: one two three";
  EXPECT_THAT(After(text, {}), ElementsAre(Pair(Id(" four"), 1))) << "two three";
  EXPECT_TRUE(After("one two three four one two: three", {":"}).empty()) << "three alone repeats behind the breaker";
  EXPECT_TRUE(After(text, {"two thr"}).empty()) << "a breaker of several tokens";
}

TEST_F(DryBreakers, AreNotPenalizedThemselves) {
  EXPECT_TRUE(After("so one two three: so one two three", {":"}).empty());
  EXPECT_EQ(After("so one two three: so one two three", {"#"}).count(Id(":")), 1u);
}

}  // namespace
}  // namespace barn
