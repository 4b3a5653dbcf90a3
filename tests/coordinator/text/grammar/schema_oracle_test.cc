// Every public JSON schema with the instances that meet it and those that do not.
#include <fstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "gtest/gtest.h"
#include "tests/coordinator/text/grammar/byte_tokenizer.h"

namespace barn::grammar {
namespace {

using Json = nlohmann::ordered_json;

// As Python's json.dumps spells it by default: a space after "," and ":".
std::string Spaced(const Json& value, bool ascii) {
  if (!value.is_structured()) return value.dump(-1, ' ', ascii);
  std::string text(1, value.is_array() ? '[' : '{');
  for (const auto& [name, member] : value.items()) {
    if (text.size() > 1) text += ", ";
    if (value.is_object()) text += Json(name).dump(-1, ' ', ascii) + ": ";
    text += Spaced(member, ascii);
  }
  return text + (value.is_array() ? "]" : "}");
}

std::vector<std::string> Spellings(const Json& value) {
  return {value.dump(), value.dump(-1, ' ', true), Spaced(value, false), Spaced(value, true), value.dump(2)};
}

TEST(SchemaOracle, EveryCase) {
  std::ifstream file(OraclePath("oracles/http/schema_cases.jsonl"));
  int cases = 0, valid = 0, invalid = 0;
  const std::shared_ptr<const TokenTrie> trie = SmallTrie();
  for (std::string line; std::getline(file, line); ++cases) {
    const auto one = Json::parse(line);
    SCOPED_TRACE(one["id"].get<std::string>() + " " + one["schema"].dump());
    const auto grammar = Grammar::Compile(JsonSchemaSource(one["schema"].dump()));
    ASSERT_TRUE(grammar.ok()) << grammar.status();
    Automaton automaton(*grammar, trie);
    for (const Json& value : one["valid"]) {
      for (const std::string& text : Spellings(value)) EXPECT_EQ(Judge(automaton, text), Verdict::kComplete) << text;
      ++valid;
    }
    for (const Json& value : one["invalid"]) {
      for (const std::string& text : Spellings(value)) EXPECT_NE(Judge(automaton, text), Verdict::kComplete) << text;
      ++invalid;
    }
  }
  EXPECT_GE(cases, 200);
  EXPECT_GE(valid, 600);
  EXPECT_GE(invalid, 600);
}

}  // namespace
}  // namespace barn::grammar
