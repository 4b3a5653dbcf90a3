#include "coordinator/text/tools/call_grammar.h"

#include <map>
#include <tuple>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "coordinator/text/grammar/matcher.h"
#include "coordinator/text/tools/answer_parser.h"
#include "coordinator/text/tools/harmony_markers.h"
#include "tests/coordinator/text/oracle.h"

namespace barn {
namespace {

constexpr char kCity[] =
    R"({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": false})";
constexpr char kNothing[] = R"({"type": "object", "properties": {}, "additionalProperties": false})";

// A call of each family: %s stands for the name, %a for the arguments.
struct Family {
  CallFamily family;
  std::string call;
  std::string two;  // Two calls; "" where only one is written.
};

const std::map<std::string, Family> kFamilies = {
    {"Tagged",
     {CallFamily::kTagged, "<tool_call>\n{\"name\": \"%s\", \"arguments\": %a}\n</tool_call>",
      "<tool_call>\n{\"name\": \"%s\", \"arguments\": %a}\n</tool_call>\n<tool_call>\n{\"name\": \"%s\", "
      "\"arguments\": %a}\n</tool_call>"}},
    {"Llama3",
     {CallFamily::kLlama3, "{\"name\": \"%s\", \"parameters\": %a}",
      "{\"name\": \"%s\", \"parameters\": %a}; {\"name\": \"%s\", \"parameters\": %a}"}},
    {"Mistral",
     {CallFamily::kMistral, "[TOOL_CALLS][{\"name\": \"%s\", \"arguments\": %a}]",
      "[TOOL_CALLS][{\"name\": \"%s\", \"arguments\": %a}, {\"name\": \"%s\", \"arguments\": %a}]"}},
    {"DeepSeek",
     {CallFamily::kDeepSeek,
      "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>%s<｜tool▁sep｜>%a<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
      "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>%s<｜tool▁sep｜>%a<｜tool▁call▁end｜>"
      "<｜tool▁call▁begin｜>%s<｜tool▁sep｜>%a<｜tool▁call▁end｜><｜tool▁calls▁end｜>"}},
    {"Kimi",
     {CallFamily::kKimi,
      "<|tool_calls_section_begin|><|tool_call_begin|>functions.%s:0<|tool_call_argument_begin|>%a<|tool_call_end|>"
      "<|tool_calls_section_end|>",
      "<|tool_calls_section_begin|><|tool_call_begin|>functions.%s:0<|tool_call_argument_begin|>%a<|tool_call_end|>"
      "<|tool_call_begin|>functions.%s:1<|tool_call_argument_begin|>%a<|tool_call_end|><|tool_calls_section_end|>"}},
    {"CommandR",
     {CallFamily::kCommandR, "<|START_ACTION|>[{\"tool_name\": \"%s\", \"parameters\": %a}]<|END_ACTION|>",
      "<|START_ACTION|>[{\"tool_name\": \"%s\", \"parameters\": %a}, {\"tool_name\": \"%s\", \"parameters\": "
      "%a}]<|END_ACTION|>"}},
    {"Harmony", {CallFamily::kHarmony, "<|channel|>commentary to=functions.%s <|constrain|>json<|message|>%a", ""}},
};

std::string Filled(std::string text, const std::string& name, const std::string& arguments) {
  for (size_t at = 0; (at = text.find('%', at)) != text.npos;) {
    const std::string& part = text[at + 1] == 's' ? name : arguments;
    text.replace(at, 2, part);
    at += part.size();
  }
  return text;
}

AnswerFormat Format(CallFamily family) {
  AnswerFormat format{.family = family};
  if (family != CallFamily::kHarmony) {
    format.think_begin = "<think>";
    format.think_end = "</think>";
  }
  return format;
}

// The markers of a family as control tokens, or as plain text.
std::unique_ptr<Tokenizer> MakeTokenizer(CallFamily family, bool control_tokens) {
  Vocabulary vocabulary = SmallSpmVocabulary({"\u2581", "get", "_weather", "city", "\":", "\u2581\""});
  vocabulary.end_of_generation = {2};
  std::vector<std::string> markers = {"<think>",
                                      "</think>",
                                      "<|END_ACTION|>",
                                      "</tool_call>",
                                      "<｜tool▁sep｜>",
                                      "<｜tool▁call▁end｜>",
                                      "<|tool_call_argument_begin|>",
                                      "<|tool_call_end|>"};
  const CallSyntax& syntax = SyntaxOf(family);
  markers.insert(markers.end(), syntax.begin.begin(), syntax.begin.end());
  markers.insert(markers.end(), syntax.hidden.begin(), syntax.hidden.end());
  if (family == CallFamily::kHarmony) markers.insert(markers.end(), kHarmonyMarkers.begin(), kHarmonyMarkers.end());
  for (const std::string& marker : markers) {
    if (!control_tokens) break;
    vocabulary.tokens.push_back(marker);
    vocabulary.types.push_back(TokenType::kControl);
    vocabulary.scores.push_back(0);
  }
  vocabulary.id_count = static_cast<int64_t>(vocabulary.tokens.size());
  auto tokenizer = Tokenizer::Create(std::move(vocabulary));
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

enum class Verdict { kComplete, kPrefix, kRefused };

class CallGrammarTest : public testing::TestWithParam<std::tuple<std::string, bool>> {
 protected:
  CallGrammarTest()
      : family_(kFamilies.at(std::get<0>(GetParam()))),
        format_(Format(family_.family)),
        tokenizer_(MakeTokenizer(family_.family, std::get<1>(GetParam()))) {}

  void Compile(CallGrammarOptions options) {
    const auto source = CallGrammar(format_, *tokenizer_, {{"get_weather", kCity}, {"now", kNothing}}, options);
    ASSERT_TRUE(source.has_value());
    auto grammar = grammar::Grammar::Compile(*source);
    ASSERT_TRUE(grammar.ok()) << grammar.status() << "\n" << source->gbnf;
    auto trie = grammar::TokenTrie::Create(*tokenizer_);
    ASSERT_TRUE(trie.ok()) << trie.status();
    constraint_ = {.grammar = *std::move(grammar),
                   .tokens = std::make_shared<const grammar::TokenTrie>(*std::move(trie))};
  }

  // Plain markers byte by byte: this vocabulary's encoder takes U+2581, which DeepSeek's hold, for a space.
  std::vector<int32_t> Ids(const std::string& text) {
    if (std::get<1>(GetParam())) {
      const auto ids = tokenizer_->Encode(text, {.add_special = false, .parse_special = true, .continues = true});
      EXPECT_TRUE(ids.ok()) << ids.status();
      return *ids;
    }
    std::vector<int32_t> ids;
    for (const char byte : text) ids.push_back(3 + static_cast<uint8_t>(byte));
    return ids;
  }

  Verdict Judge(const std::string& text) {
    grammar::Matcher matcher = matchers_->Start(constraint_);
    for (const int32_t id : Ids(text)) {
      if (matcher.ended() || !matcher.Accept(id).ok()) return Verdict::kRefused;
    }
    return matcher.CanEnd() ? Verdict::kComplete : Verdict::kPrefix;
  }

  std::vector<ToolCall> Calls(const std::string& text) {
    const auto parser = MakeAnswerParser(format_, {.tools = {{.name = "get_weather"}, {.name = "now"}}});
    std::vector<AnswerPart> parts = parser->Push(text);
    for (AnswerPart& part : parser->Finish()) parts.push_back(std::move(part));
    std::vector<ToolCall> calls;
    for (const AnswerPart& part : parts) {
      if (part.kind == AnswerPart::Kind::kCall) calls.push_back(part.call);
    }
    return calls;
  }

  std::string Call(const std::string& name, const std::string& arguments) {
    return Filled(family_.call, name, arguments);
  }

  const Family family_;
  const AnswerFormat format_;
  const std::unique_ptr<Tokenizer> tokenizer_;
  const std::shared_ptr<grammar::Matchers> matchers_ = grammar::Matchers::Create();
  grammar::Constraint constraint_;
};

constexpr char kUlm[] = "{\"city\": \"Ulm\"}";

// What the grammar takes, the parser reads back.
TEST_P(CallGrammarTest, AForcedCallIsOneOfTheTools) {
  Compile({});
  EXPECT_EQ(Judge(Call("get_weather", kUlm)), Verdict::kComplete);
  EXPECT_EQ(Judge(Call("now", "{}")), Verdict::kComplete);
  ASSERT_EQ(Calls(Call("get_weather", kUlm)).size(), 1u);
  EXPECT_EQ(Calls(Call("get_weather", kUlm))[0].arguments, kUlm);
  EXPECT_EQ(Judge(Call("remove", "{}")), Verdict::kRefused);
  EXPECT_EQ(Judge(Call("now", kUlm)), Verdict::kRefused);
  EXPECT_EQ(Judge(Call("get_weather", "{}")), Verdict::kRefused);
  EXPECT_EQ(Judge(Call("get_weather", "{\"city\": 3}")), Verdict::kRefused);
  EXPECT_EQ(Judge("Let me see."), Verdict::kRefused);
  EXPECT_EQ(Judge(""), Verdict::kPrefix);
}

TEST_P(CallGrammarTest, MoreThanOneOnlyWhereSeveralMayBe) {
  if (family_.two.empty()) return;  // One call ends an answer of this family.
  const std::string two = Filled(family_.two, "get_weather", kUlm);
  Compile({.several = true});
  EXPECT_EQ(Judge(two), Verdict::kComplete);
  EXPECT_EQ(Judge(Call("now", "{}")), Verdict::kComplete);
  EXPECT_EQ(Calls(two).size(), 2u);
  Compile({.several = false});
  EXPECT_EQ(Judge(two), Verdict::kRefused);
}

TEST_P(CallGrammarTest, ReasoningMayComeFirst) {
  const std::string call = Call("get_weather", kUlm);
  const bool harmony = family_.family == CallFamily::kHarmony;
  const std::string thought = "a < b, so </thin or <tool_";
  Compile({});
  if (harmony) {
    EXPECT_EQ(Judge(absl::StrCat("<|channel|>analysis<|message|>", thought, "<|end|><|start|>assistant", call)),
              Verdict::kComplete);
    EXPECT_EQ(Judge("<|channel|>final<|message|>Hello"), Verdict::kRefused);
    return;
  }
  EXPECT_EQ(Judge(absl::StrCat("<think>", thought, "</think>\n\n", call)), Verdict::kComplete);
  EXPECT_EQ(Judge(absl::StrCat("<think>", thought, "</think>\n\nHello")), Verdict::kRefused);
  Compile({.may_reason = false});
  EXPECT_EQ(Judge(absl::StrCat("<think>", thought, "</think>\n\n", call)), Verdict::kRefused);
  EXPECT_EQ(Judge(call), Verdict::kComplete);
  Compile({.in_reasoning = true});
  EXPECT_EQ(Judge(absl::StrCat(thought, "</think>", call)), Verdict::kComplete);
  EXPECT_EQ(Judge(thought), Verdict::kPrefix);
}

TEST_P(CallGrammarTest, UnforcedTextIsFreeButACallIsRight) {
  if (family_.family == CallFamily::kLlama3) {
    // An answer that is JSON may be no call at all.
    EXPECT_FALSE(CallGrammar(format_, *tokenizer_, {{"now", kNothing}}, {.must_call = false}).has_value());
    return;
  }
  Compile({.must_call = false, .several = true});
  const bool harmony = family_.family == CallFamily::kHarmony;
  const std::string before = harmony ? "<|channel|>final<|message|>" : "<think>So.</think>\n\n";
  EXPECT_EQ(Judge(absl::StrCat(before, "Grüße, {\"a\": [1]} <tool_ <|to \"x\"")), Verdict::kComplete);
  EXPECT_EQ(Judge(Call("get_weather", kUlm)), Verdict::kComplete);
  EXPECT_EQ(Judge(Call("remove", "{}")), Verdict::kRefused);
  EXPECT_EQ(Judge(Call("get_weather", "{\"city\": 3}")), Verdict::kRefused);
  if (harmony) return;
  EXPECT_EQ(Judge(absl::StrCat("Let me see.\n", Call("get_weather", kUlm))), Verdict::kComplete);
  EXPECT_EQ(Judge(absl::StrCat("Let me see.\n", Call("remove", "{}"))), Verdict::kRefused);
  EXPECT_EQ(Judge(Filled(family_.two, "get_weather", kUlm)), Verdict::kComplete);
}

// response_format beside tools.
TEST_P(CallGrammarTest, AnAnswerOfASchemaMayStandInPlaceOfACall) {
  Compile({.answer_schema = R"({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})"});
  const std::string before = family_.family == CallFamily::kHarmony ? "<|channel|>final<|message|>" : "";
  EXPECT_EQ(Judge(before + "{\"a\": 1}"), Verdict::kComplete);
  EXPECT_EQ(Judge(before + "{\"a\": \"x\"}"), Verdict::kRefused);
  EXPECT_EQ(Judge(before + "Hello"), Verdict::kRefused);
  EXPECT_EQ(Judge(Call("get_weather", kUlm)), Verdict::kComplete);
}

INSTANTIATE_TEST_SUITE_P(Families, CallGrammarTest,
                         testing::Combine(testing::Values("Tagged", "Llama3", "Mistral", "DeepSeek", "Kimi", "CommandR",
                                                          "Harmony"),
                                          testing::Bool()),
                         [](const auto& info) {
                           return absl::StrCat(std::get<0>(info.param), std::get<1>(info.param) ? "Tokens" : "Text");
                         });

// Names that are no plain words stay one JSON string.
TEST(CallGrammar, QuotesNames) {
  const auto tokenizer = MakeTokenizer(CallFamily::kTagged, false);
  const auto source = CallGrammar(Format(CallFamily::kTagged), *tokenizer, {{"say \"hi\"\n[x]", kNothing}}, {});
  ASSERT_TRUE(source.has_value());
  EXPECT_TRUE(grammar::Grammar::Compile(*source).ok()) << source->gbnf;
  EXPECT_TRUE(absl::StrContains(source->gbnf, R"(say \\\"hi\\\"\\n\[x\])")) << source->gbnf;
}

// Reasoning, then an answer of the schema.
TEST(CallGrammar, AnswersWithoutTools) {
  for (const CallFamily family : {CallFamily::kNone, CallFamily::kHarmony}) {
    const auto tokenizer = MakeTokenizer(family, false);
    const auto source = CallGrammar(Format(family), *tokenizer, {}, {.answer_schema = kCity});
    ASSERT_TRUE(source.has_value());
    const auto grammar = grammar::Grammar::Compile(*source);
    ASSERT_TRUE(grammar.ok()) << grammar.status() << source->gbnf;
  }
}

TEST(CallGrammar, NothingWithoutToolsOrFamily) {
  const auto tokenizer = MakeTokenizer(CallFamily::kTagged, false);
  EXPECT_FALSE(CallGrammar(Format(CallFamily::kTagged), *tokenizer, {}, {}).has_value());
  EXPECT_FALSE(CallGrammar(Format(CallFamily::kNone), *tokenizer, {{"now", kNothing}}, {}).has_value());
}

}  // namespace
}  // namespace barn
