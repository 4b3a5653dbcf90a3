// Texts that are drawn token by token, at random among the allowed ones, under random schemas: every one must meet its
// schema. BARN_SCHEMA_RUNS=10000 random_schema_test draws more of them than the suite has time for.
#include <algorithm>
#include <cstdlib>
#include <random>
#include <string>

#include "coordinator/text/grammar/matcher.h"
#include "gtest/gtest.h"
#include "tests/coordinator/text/grammar/byte_tokenizer.h"
#include "tests/coordinator/text/grammar/json_validator.h"
#include "tests/coordinator/text/grammar/random_schema.h"

namespace barn::grammar {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kTokensMax = 6000;

// Draws an answer; "" if it does not end. Texts that close what they opened are drawn more often as it grows.
std::string Draw(Matcher matcher, const TokenTrie& trie, std::mt19937_64& random) {
  std::string text;
  for (int i = 0; i < kTokensMax && !matcher.ended(); ++i) {
    const auto mask = matcher.Mask();
    EXPECT_TRUE(mask.ok()) << mask.status() << " after " << text;
    if (!mask.ok()) return "";
    std::vector<int32_t> allowed, closing;
    for (int32_t id = 0; id < trie.vocabulary(); ++id) {
      if (!(*mask)->Allows(id)) continue;
      allowed.push_back(id);
      const std::string_view bytes = trie.bytes(id);
      if (bytes == "\"" || bytes == "]" || bytes == "}" || bytes.empty()) closing.push_back(id);
    }
    const bool close = !closing.empty() && static_cast<int>(random() % 400) < 40 + i;
    const std::vector<int32_t>& from = close ? closing : allowed;
    const int32_t id = from[random() % from.size()];
    const absl::Status status = matcher.Accept(id);
    EXPECT_TRUE(status.ok()) << status;
    text += trie.bytes(id);
  }
  return matcher.ended() ? text : "";
}

TEST(RandomSchema, EveryAnswerMeetsItsSchema) {
  const char* wanted = std::getenv("BARN_SCHEMA_RUNS");
  const int runs = wanted != nullptr ? std::atoi(wanted) : 1200;
  const auto trie = SmallTrie({"\":", "\",\"", "{\"", "\"}", "[]", "true", "null", "12", "00", "ab", "\\u00", "\":\"",
                               "],[", "},{", "▁", "1.", "e-", "\xE6\x97"});
  const std::shared_ptr<Matchers> matchers = Matchers::Create();
  std::mt19937_64 random(7);
  int refused = 0, unfinished = 0;
  for (int run = 0; run < runs; ++run) {
    const Json schema = RandomSchema(static_cast<uint64_t>(run)).Make();
    SCOPED_TRACE("schema of seed " + std::to_string(run) + ": " + schema.dump());
    const auto grammar = Grammar::Compile(JsonSchemaSource(schema.dump()));
    if (!grammar.ok()) {
      ++refused;  // Branches that may both match, an empty interval and the like.
      continue;
    }
    const std::string text = Draw(matchers->Start({.grammar = *grammar, .tokens = trie}), *trie, random);
    if (text.empty()) {
      ++unfinished;
      continue;
    }
    const Json value = Json::parse(text, nullptr, false);
    ASSERT_FALSE(value.is_discarded()) << text;
    ASSERT_EQ(Invalid(schema, schema, value), "") << text;
  }
  EXPECT_LT(refused, runs / 4);
  EXPECT_LT(unfinished, runs / 100 + 1);
  RecordProperty("refused", refused);
  RecordProperty("unfinished", unfinished);
  printf("%d schemas, %d refused, %d answers cut off\n", runs, refused, unfinished);
}

}  // namespace
}  // namespace barn::grammar
