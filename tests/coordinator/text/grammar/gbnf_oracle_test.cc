// Every public GBNF grammar with the strings that it accepts and refuses.
#include <fstream>
#include <string>

#include <nlohmann/json.hpp>

#include "gtest/gtest.h"
#include "tests/coordinator/text/grammar/byte_tokenizer.h"

namespace barn::grammar {
namespace {

TEST(GbnfOracle, EveryCase) {
  std::ifstream file(OraclePath("oracles/http/gbnf_cases.jsonl"));
  int cases = 0, broken = 0, strings = 0;
  const std::shared_ptr<const TokenTrie> trie = SmallTrie();
  for (std::string line; std::getline(file, line); ++cases) {
    const auto one = nlohmann::json::parse(line);
    SCOPED_TRACE(one["id"].get<std::string>() + " " + one["grammar"].get<std::string>());
    const auto grammar = Grammar::Compile({.gbnf = one["grammar"]});
    if (one.value("must_fail", false)) {
      EXPECT_FALSE(grammar.ok());
      ++broken;
      continue;
    }
    ASSERT_TRUE(grammar.ok()) << grammar.status();
    Automaton automaton(*grammar, trie);
    for (const std::string text : one["accept"]) EXPECT_EQ(Judge(automaton, text), Verdict::kComplete) << text;
    const auto prefixes = one["reject_but_prefix"].get<std::vector<std::string>>();
    for (const std::string text : one["reject"]) {
      const bool prefix = std::find(prefixes.begin(), prefixes.end(), text) != prefixes.end();
      EXPECT_EQ(Judge(automaton, text), prefix ? Verdict::kPrefix : Verdict::kRefused) << text;
      ++strings;
    }
    strings += static_cast<int>(one["accept"].size());
  }
  EXPECT_GE(cases, 33);
  EXPECT_GE(broken, 6);
  EXPECT_GE(strings, 150);
}

}  // namespace
}  // namespace barn::grammar
