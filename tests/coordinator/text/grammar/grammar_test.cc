// GBNF: what is refused and where, bounds, tokens by id, and what an automaton makes of odd grammars.
#include "coordinator/text/grammar/grammar.h"

#include <gmock/gmock.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "coordinator/text/grammar/grammar_cache.h"
#include "gtest/gtest.h"
#include "tests/coordinator/text/grammar/byte_tokenizer.h"

namespace barn::grammar {
namespace {

using ::testing::HasSubstr;

std::string Refusal(const std::string& gbnf) {
  const auto grammar = Grammar::Compile({.gbnf = gbnf});
  if (grammar.ok()) return "it compiles";
  EXPECT_EQ(grammar.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(grammar.status().message());
}

TEST(Gbnf, NamesThePlaceOfAMistake) {
  const std::pair<const char*, const char*> cases[] = {
      {"root ::= missing", "line 1, column 10: the rule \"missing\" is not defined"},
      {"root ::= \"a\"\n\nx ::= [a-", "line 3, column 7: this class is never closed"},
      {"root ::= \"é\" [z-a]", "line 1, column 16: the range ends before it begins"},
      {"root ::= (\"a\"\n", "line 1, column 10: this group is never closed"},
      {"root ::= \"a", "line 1, column 10: this literal is never closed"},
      {"root ::= \"\\q\"", "line 1, column 11: an unknown escape"},
      {"root ::= \"\\xZ1\"", "line 1, column 11: this escape takes 2"},
      {"root ::= \"\\uD800\"", "line 1, column 11: U+D800 is no character"},
      {"root ::= * \"a\"", "line 1, column 10: \"*\" has nothing before it"},
      {"root ::= \"a\"{2,1}", "line 1, column 13: the larger count"},
      {"root ::= \"a\"{9999999}", "line 1, column 13: a count is written"},
      {"root ::= \"a\" )", "line 1, column 14: \")\" has no meaning here"},
      {"root ::= \"a\"\nroot ::= \"b\"", "line 2, column 1: the rule \"root\" is defined twice"},
      {"root = \"a\"", "line 1, column 6: \"::=\" is due"},
      {"root ::= [^\\x00-\\U0010FFFF]", "line 1, column 10: this class has no members"},
      {"root ::= <x>", "line 1, column 10: a token is written <[ID]>"},
      {"start ::= \"a\"", "there is no rule \"root\""},
      {"", "there is no rule \"root\""},
      {"root ::= \"\xFF\"", "these bytes are not UTF-8"},
      {"root ::= root \"a\" | \"b\"", "the rule \"root\" is left-recursive"},
      {"root ::= a\na ::= \"\" b\nb ::= \"x\"? a | \"y\"", "is left-recursive"},
      {"root ::= \"a\" root", "the rule \"root\" matches no text"},
  };
  for (const auto& [gbnf, message] : cases) EXPECT_THAT(Refusal(gbnf), HasSubstr(message)) << gbnf;
}

TEST(Gbnf, ReadsWhatPeopleWrite) {
  const std::tuple<const char*, const char*, Verdict> cases[] = {
      {"root ::= a |\n  b\na ::= \"x\"\n | \"y\" # end\nb ::= \"z\"", "y", Verdict::kComplete},
      {"root ::=\n  \"x\"\n", "x", Verdict::kComplete},
      {"root ::= (\n\"x\"\n|\n\"y\" \"z\"\n)\n", "yz", Verdict::kComplete},
      {"root ::= \"a\"{2} \"b\"{ 1 , 2 }", "aabb", Verdict::kComplete},
      {"root ::= (\"a\"?){0,3} \"b\"", "aaab", Verdict::kComplete},
      {"root ::= (\"a\"?){0,3} \"b\"", "aaaab", Verdict::kRefused},
      {"root ::= (\"a\"*)* \"b\"", "aaaaaab", Verdict::kComplete},
      {"root ::= ((\"a\"?)+ (\"c\"|\"\")*)+ \"b\"", "acaacb", Verdict::kComplete},
      {"root ::= x{3,40}\nx ::= [a-c] y*\ny ::= \"-\"", "a-b--c", Verdict::kComplete},
      {"root ::= x{3,40}\nx ::= [a-c] y*\ny ::= \"-\"", "a-b--", Verdict::kPrefix},
      {"root ::= (\"ab\"{2,300} \";\"){2,}", "abab;ababab;abab;", Verdict::kComplete},
      {"root ::= (\"ab\"{2,300} \";\"){2,}", "abab;ab;", Verdict::kRefused},
      {"root ::= [a-z]{100}", "abc", Verdict::kPrefix},
      {"root ::= \"x\" dead | \"y\"\ndead ::= \"z\" dead", "y", Verdict::kComplete},
      {"root ::= \"x\" dead | \"y\"\ndead ::= \"z\" dead", "x", Verdict::kRefused},
      {"root ::= [^a]", "é", Verdict::kComplete},
      {"root ::= [^a]", "\xC3", Verdict::kPrefix},
      {"root ::= [^a]", "\xED\xA0", Verdict::kRefused},
      {"root ::= \"\"", "", Verdict::kComplete},
  };
  for (const auto& [gbnf, text, verdict] : cases) {
    const auto grammar = Grammar::Compile({.gbnf = gbnf});
    ASSERT_TRUE(grammar.ok()) << gbnf << grammar.status();
    Automaton automaton(*grammar, SmallTrie());
    EXPECT_EQ(Judge(automaton, text), verdict) << gbnf << " " << text;
  }
}

TEST(Gbnf, UsesSchemasAsRules) {
  const auto grammar = Grammar::Compile(
      {.gbnf = "root ::= \"<call>\" (number | word) \"</call>\"",
       .schemas = {{"number", R"({"type": "integer", "minimum": 5})"}, {"word", R"({"enum": ["up", "down"]})"}}});
  ASSERT_TRUE(grammar.ok()) << grammar.status();
  Automaton automaton(*grammar, SmallTrie());
  EXPECT_EQ(Judge(automaton, "<call>17</call>"), Verdict::kComplete);
  EXPECT_EQ(Judge(automaton, "<call>\"up\"</call>"), Verdict::kComplete);
  EXPECT_EQ(Judge(automaton, "<call>4</call>"), Verdict::kRefused);
  EXPECT_THAT(Grammar::Compile({.gbnf = "root ::= s", .schemas = {{"s", "false"}}}).status().message(),
              HasSubstr("s: no value meets the schema"));
}

// Grammars that small texts make large, or ambiguous: refused or answered in bounded time.
TEST(Gbnf, HostileGrammarsStayBounded) {
  std::string stars, groups, chain = "root ::= r0\n", alternatives = "root ::= ";
  for (int i = 0; i < 20'000; ++i) absl::StrAppend(&stars, "[a-z]? ");
  for (int i = 0; i < 99; ++i) absl::StrAppend(&groups, "(");
  absl::StrAppend(&groups, "\"a\"");
  for (int i = 0; i < 99; ++i) absl::StrAppend(&groups, "){1,100}");
  for (int i = 0; i < 15'000; ++i) absl::StrAppend(&chain, "r", i, " ::= r", i + 1, "? \"x\" r", i + 1, "\n");
  absl::StrAppend(&chain, "r15000 ::= \"y\"\n");
  for (int i = 0; i < 20'000; ++i) absl::StrAppend(&alternatives, "[a-y]* \"", i, "\" | ");
  absl::StrAppend(&alternatives, "\"z\"");
  for (const std::string& gbnf :
       {"root ::= " + stars, "root ::= (" + stars + "){0,1000000}", "root ::= " + groups, chain, alternatives,
        std::string("root ::= ((((.*)*)*)*)*"), std::string("root ::= (\"a\"{0,1000} \"a\"{0,1000}){0,1000000}"),
        "root ::= " + std::string(300'000, '(')}) {
    const absl::Time begin = absl::Now();
    const auto grammar = Grammar::Compile({.gbnf = gbnf});
    if (grammar.ok()) {
      Automaton automaton(*grammar, SmallTrie({"aaaa", "aaaaaaaaaaaaaaaa"}));
      Automaton::State state = automaton.start();
      for (int i = 0; i < 20; ++i) {
        if (!automaton.Mask(state).ok()) break;
        const auto next = automaton.AfterByte(state, 'a');
        if (!next.ok()) break;
        state = *next;
      }
      EXPECT_LT(automaton.memory_bytes(), 256 << 20) << gbnf.substr(0, 60);
    }
    EXPECT_LT(absl::Now() - begin, absl::Seconds(20)) << gbnf.substr(0, 60);
  }
}

TEST(Gbnf, DeepNestingEndsByItself) {
  const auto grammar = Grammar::Compile({.gbnf = "root ::= \"(\" root* \")\""});
  ASSERT_TRUE(grammar.ok());
  Automaton automaton(*grammar, SmallTrie());
  Automaton::State state = automaton.start();
  int depth = 0;
  for (; depth < 10 * kStackMax; ++depth) {
    const Automaton::State next = *automaton.AfterByte(state, '(');
    if (next == Automaton::kDead) break;
    state = next;
  }
  EXPECT_GE(depth, kStackMax / 2);
  EXPECT_LE(depth, kStackMax + 2);
  for (int i = 0; i < depth; ++i) state = *automaton.AfterByte(state, ')');
  EXPECT_TRUE(automaton.CanEnd(state));
}

TEST(GrammarCache, KeepsWhatComesAgain) {
  auto tokenizer = Tokenizer::Create(SmallSpmVocabulary({"ab"}));
  ASSERT_TRUE(tokenizer.ok());
  GrammarCache cache(**tokenizer);
  const auto first = cache.Get({.gbnf = "root ::= \"a\""});
  const auto other = cache.Get({.gbnf = "root ::= \"b\""});
  const auto again = cache.Get({.gbnf = "root ::= \"a\""});
  ASSERT_TRUE(first.ok() && other.ok() && again.ok());
  EXPECT_EQ(first->grammar, again->grammar);
  EXPECT_EQ(first->tokens, other->tokens);
  EXPECT_NE(first->grammar, other->grammar);
  for (size_t i = 0; i <= GrammarCache::kGrammarsMax; ++i) {
    ASSERT_TRUE(cache.Get({.gbnf = absl::StrCat("root ::= \"", i, "\"")}).ok());
  }
  EXPECT_NE(cache.Get({.gbnf = "root ::= \"a\""})->grammar, first->grammar);
  EXPECT_THAT(cache.Get({.gbnf = "root ::= x"}).status().message(), HasSubstr("not defined"));
}

}  // namespace
}  // namespace barn::grammar
