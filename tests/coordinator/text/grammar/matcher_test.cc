#include "coordinator/text/grammar/matcher.h"

#include <gmock/gmock.h>

#include <random>
#include <string>

#include "gtest/gtest.h"
#include "tests/coordinator/text/grammar/byte_tokenizer.h"

namespace barn::grammar {
namespace {

using ::testing::HasSubstr;

constexpr int32_t kEnd = 2, kControl = 1;  // Of SmallTrie.
int32_t Byte(char c) { return 3 + static_cast<uint8_t>(c); }

Constraint Make(const std::string& gbnf, const std::vector<std::string>& pieces = {}) {
  auto grammar = Grammar::Compile({.gbnf = gbnf});
  EXPECT_TRUE(grammar.ok()) << grammar.status();
  return {.grammar = *grammar, .tokens = SmallTrie(pieces)};
}

std::vector<int32_t> Allowed(Matcher& matcher) {
  const auto mask = matcher.Mask();
  EXPECT_TRUE(mask.ok()) << mask.status();
  std::vector<int32_t> ids;
  for (int32_t id = 0; id < (*mask)->vocabulary(); ++id) {
    if ((*mask)->Allows(id)) ids.push_back(id);
  }
  EXPECT_EQ(static_cast<int64_t>(ids.size()), (*mask)->allowed());
  return ids;
}

TEST(Matcher, AllowsTheEndOnlyWhereTheGrammarDoes) {
  const auto matchers = Matchers::Create();
  Matcher matcher = matchers->Start(Make("root ::= \"a\" (\"b\" \"c\")?"));
  EXPECT_THAT(Allowed(matcher), testing::ElementsAre(Byte('a')));
  EXPECT_FALSE(matcher.Accept(kEnd).ok());
  ASSERT_TRUE(matcher.Accept(Byte('a')).ok());
  EXPECT_THAT(Allowed(matcher), testing::ElementsAre(kEnd, Byte('b')));
  Matcher draft = matcher;
  ASSERT_TRUE(draft.Accept(kEnd).ok());
  EXPECT_TRUE(draft.ended());
  ASSERT_TRUE(matcher.Accept(Byte('b')).ok());
  EXPECT_FALSE(matcher.CanEnd());
  EXPECT_THAT(std::string(matcher.Accept(Byte('x')).message()), HasSubstr("does not fit the grammar after 2 tokens"));
  ASSERT_TRUE(matcher.Accept(Byte('c')).ok());
  EXPECT_TRUE(matcher.ended());
}

TEST(Matcher, TokensMayCrossTheBordersOfRules) {
  const auto matchers = Matchers::Create();
  // 259: "ab", 260: "b,a", 261: "a,", 262: ",", 263: "ba"
  Matcher matcher = matchers->Start(Make("root ::= w (\",\" w)*\nw ::= [a-b]+ \"\"", {"ab", "b,a", "a,", ",,", "ba"}));
  EXPECT_THAT(Allowed(matcher), testing::ElementsAre(Byte('a'), Byte('b'), 259, 260, 261, 263));
  ASSERT_TRUE(matcher.Accept(260).ok());
  EXPECT_TRUE(matcher.CanEnd());
  ASSERT_TRUE(matcher.Accept(261).ok());
  EXPECT_FALSE(matcher.CanEnd());
}

TEST(Matcher, NamedTokensAndControlTokens) {
  const auto matchers = Matchers::Create();
  Matcher matcher = matchers->Start(Make("root ::= <[1]> \"a\" <[259]> .*", {"b"}));
  EXPECT_THAT(Allowed(matcher), testing::ElementsAre(kControl));
  ASSERT_TRUE(matcher.Accept(kControl).ok());
  ASSERT_TRUE(matcher.Accept(Byte('a')).ok());
  EXPECT_THAT(Allowed(matcher), testing::ElementsAre(259));
  EXPECT_FALSE(matcher.Accept(Byte('b')).ok());
  ASSERT_TRUE(matcher.Accept(259).ok());
  const std::vector<int32_t> free = Allowed(matcher);
  EXPECT_EQ(std::count(free.begin(), free.end(), kControl), 0);  // "." is text.
  EXPECT_EQ(std::count(free.begin(), free.end(), kEnd), 1);
}

TEST(Matcher, SaysWhenTheVocabularyHasNoWordForIt) {
  Vocabulary vocabulary;
  vocabulary.model = "llama";
  vocabulary.tokens = {"</s>", "a"};
  vocabulary.types = {TokenType::kControl, TokenType::kNormal};
  vocabulary.end_of_generation = {0};
  const auto tokenizer = Tokenizer::Create(std::move(vocabulary));
  ASSERT_TRUE(tokenizer.ok());
  Matcher matcher = Matchers::Create()->Start(
      {.grammar = *Grammar::Compile({.gbnf = "root ::= \"ab\""}), .tokens = TrieOf(**tokenizer)});
  ASSERT_TRUE(matcher.Mask().ok());
  ASSERT_TRUE(matcher.Accept(1).ok());
  EXPECT_THAT(std::string(matcher.Mask().status().message()),
              HasSubstr("after 1 tokens no token of this model's vocabulary"));
}

// Every mask against the plain question for every token: do its bytes lead on?
TEST(Matcher, MasksAgreeWithTokensOneByOne) {
  const auto constraint = Make(
      "root ::= obj\nobj ::= \"{\" ws (pair (\",\" ws pair)*)? \"}\"\npair ::= str \":\" ws val\n"
      "val ::= str | obj | [0-9]{1,30} | \"[\" (val (\",\" val)*)? \"]\"\n"
      "str ::= \"\\\"\" ([^\"\\\\\\x00-\\x1F] | \"\\\\\" [\"\\\\nu])* \"\\\"\"\nws ::= [ \\n]{0,8}",
      {"{\"", "\":", "\",\"", "\"}", "}}", "12", "000", "▁", "▁▁", "]]", "[[", "\":{\"", "\\", "\\\"", "é", "\xC3",
       "\xA9\"", "ab", ",▁"});
  const auto matchers = Matchers::Create();
  std::mt19937 random(3);
  for (int round = 0; round < 30; ++round) {
    Matcher matcher = matchers->Start(constraint);
    for (int step = 0; step < 60 && !matcher.ended(); ++step) {
      const std::vector<int32_t> allowed = Allowed(matcher);
      for (int32_t id = 0; id < constraint.tokens->vocabulary(); ++id) {
        Matcher copy = matcher;
        ASSERT_EQ(copy.Accept(id).ok(), std::binary_search(allowed.begin(), allowed.end(), id))
            << id << " step " << step;
      }
      ASSERT_TRUE(matcher.Accept(allowed[random() % allowed.size()]).ok());
    }
  }
}

// A bound that is far too small makes everybody start over all the time, and nothing changes.
TEST(Matchers, ForgetsAndGoesOn) {
  const auto small = Matchers::Create({.bytes_max = 1000, .idle_max = 1});
  const auto large = Matchers::Create();
  std::vector<Constraint> constraints;
  for (int i = 0; i < 4; ++i)
    constraints.push_back(Make("root ::= ([a-f]{2,9} \",\"){3} \"" + std::to_string(i) + "\""));
  std::vector<Matcher> first, second;
  for (const Constraint& constraint : constraints) {
    first.push_back(small->Start(constraint));
    second.push_back(large->Start(constraint));
  }
  std::mt19937 random(5);
  for (int step = 0; step < 200; ++step) {
    const size_t i = random() % first.size();
    if (first[i].ended()) continue;
    const std::vector<int32_t> allowed = Allowed(first[i]);
    ASSERT_EQ(allowed, Allowed(second[i]));
    const int32_t id = allowed[random() % allowed.size()];
    ASSERT_TRUE(first[i].Accept(id).ok());
    ASSERT_TRUE(second[i].Accept(id).ok());
  }
  EXPECT_LT(small->memory_bytes(), large->memory_bytes());
}

TEST(TokenMask, TakesTheShortestForm) {
  std::vector<uint64_t> words(4, 0);
  words[0] = 0b1001;
  const TokenMask few(words, 200);
  EXPECT_EQ(few.form(), TokenMask::Form::kAllowed);
  EXPECT_THAT(few.named(), testing::ElementsAre(0, 3));
  words = {~uint64_t{2}, ~uint64_t{0}, ~uint64_t{0}, 0xFF};
  const TokenMask most(words, 200);
  EXPECT_EQ(most.form(), TokenMask::Form::kForbidden);
  EXPECT_EQ(most.allowed(), 199);
  EXPECT_FALSE(most.Allows(1));
  EXPECT_TRUE(most.Allows(199));
  EXPECT_FALSE(most.Allows(200));
  words = {0x5555555555555555, 0x5555555555555555, 0x5555555555555555, 0x55};
  const TokenMask half(words, 200);
  EXPECT_EQ(half.form(), TokenMask::Form::kBits);
  EXPECT_EQ(half.bits().size(), 25u);
  EXPECT_TRUE(half.Allows(198));
  EXPECT_FALSE(half.Allows(199));
}

}  // namespace
}  // namespace barn::grammar
