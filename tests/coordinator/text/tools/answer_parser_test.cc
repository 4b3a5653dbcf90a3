#include "coordinator/text/tools/answer_parser.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace barn {
namespace {

using Kind = AnswerPart::Kind;

const std::vector<ToolSpec> kTools = {{.name = "get_weather", .text_parameters = {"city"}}, {.name = "add"}};

// "r:" thoughts, "c:" content, "!" a call; neighbours of one kind joined.
std::string Shown(const std::vector<AnswerPart>& parts) {
  std::vector<std::string> lines;
  Kind last = Kind::kCall;
  for (const AnswerPart& part : parts) {
    if (part.kind == Kind::kCall) {
      lines.push_back(absl::StrCat("!", part.call.name, part.call.arguments));
    } else if (part.kind == last && !lines.empty()) {
      lines.back() += part.text;
    } else {
      lines.push_back(absl::StrCat(part.kind == Kind::kContent ? "c:" : "r:", part.text));
    }
    last = part.kind;
  }
  return absl::StrJoin(lines, " | ");
}

std::string Parse(CallFamily family, const std::string& text, AnswerParserOptions options, size_t step) {
  const AnswerFormat format{.family = family, .think_begin = "<think>", .think_end = "</think>"};
  const auto parser = MakeAnswerParser(format, std::move(options));
  std::vector<AnswerPart> all;
  const auto take = [&all](std::vector<AnswerPart> parts) {
    for (AnswerPart& part : parts) all.push_back(std::move(part));
  };
  for (size_t at = 0; at < text.size(); at += step) take(parser->Push(std::string_view(text).substr(at, step)));
  take(parser->Finish());
  return Shown(all);
}

struct Case {
  CallFamily family;
  const char* text;
  const char* expected;
};

class Answers : public testing::TestWithParam<Case> {};

// However the text is cut.
TEST_P(Answers, ComeApart) {
  const Case& c = GetParam();
  for (const size_t step : {1, 2, 3, 7, 1000}) {
    EXPECT_EQ(Parse(c.family, c.text, {.tools = kTools}, step), c.expected) << "in steps of " << step;
  }
}

constexpr CallFamily kTagged = CallFamily::kTagged;
constexpr CallFamily kLlama = CallFamily::kLlama3;
constexpr CallFamily kMistral = CallFamily::kMistral;
constexpr CallFamily kDeep = CallFamily::kDeepSeek;
constexpr CallFamily kGptOss = CallFamily::kHarmony;

INSTANTIATE_TEST_SUITE_P(
    Tagged, Answers,
    testing::Values(
        Case{kTagged, " Hello there. ", "c: Hello there. "}, Case{kTagged, "", ""},
        Case{kTagged, "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"b\": 2, \"a\": 1}}\n</tool_call>",
             "!add{\"b\": 2, \"a\": 1}"},
        Case{kTagged,
             "Let me see.\n<tool_call>{\"name\":\"add\",\"arguments\":{}}</tool_call>\n"
             "<tool_call>{\"name\":\"get_weather\",\"arguments\":{\"city\":\"Ulm\"}}</tool_call>\n",
             "c:Let me see. | !add{} | !get_weather{\"city\": \"Ulm\"}"},
        Case{kTagged, "<think>\nHm. </th\n</think>\n\nYes.", "r:Hm. </th | c:Yes."},
        Case{kTagged, "<think>Hm<tool_call></think><tool_call>{\"name\":\"add\"}</tool_call>",
             "r:Hm<tool_call> | !add{}"},
        Case{kTagged, "<think>never ends ", "r:never ends"}, Case{kTagged, "I <think> so", "c:I <think> so"},
        // Arguments as text, a wrapper, a closing tag that is missing.
        Case{kTagged,
             "<tool_call>{\"type\":\"function\",\"function\":{\"name\":\"add\",\"arguments\":\"{\\\"a\\\":1}\"}}",
             "!add{\"a\": 1}"},
        // Malformed ones come back, byte by byte.
        Case{kTagged, "x <tool_call>{\"name\": \"add\", \"arguments\": {\"a\": }}</tool_call> y",
             "c:x <tool_call>{\"name\": \"add\", \"arguments\": {\"a\": }}</tool_call> y"},
        Case{kTagged, "<tool_call>{\"name\": \"nope\"}</tool_call>", "c:<tool_call>{\"name\": \"nope\"}</tool_call>"},
        Case{kTagged, "<tool_call>{\"name\": \"add\", \"arguments\": [1]}</tool_call>",
             "c:<tool_call>{\"name\": \"add\", \"arguments\": [1]}</tool_call>"},
        Case{kTagged, "<tool_call>{\"name\": \"add\", \"argu", "c:<tool_call>{\"name\": \"add\", \"argu"},
        Case{kTagged, "<tool_call></tool_call>", "c:<tool_call></tool_call>"},
        Case{kTagged, "a <tool_cal", "c:a <tool_cal"},
        // GLM: text parameters stay text, others are JSON.
        Case{kTagged,
             "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>12</arg_value>\n<arg_key>days</arg_key>\n"
             "<arg_value>3</arg_value>\n</tool_call>",
             "!get_weather{\"city\": \"12\", \"days\": 3}"},
        Case{kTagged, "<tool_call>add</tool_call>", "!add{}"},
        Case{kTagged, "<tool_call>add<arg_key>a</arg_key></tool_call>",
             "c:<tool_call>add<arg_key>a</arg_key></tool_call>"},
        // Qwen3-Coder.
        Case{kTagged,
             "<tool_call>\n<function=get_weather>\n<parameter=city>\nNew\nYork\n</parameter>\n<parameter=days>\n3\n"
             "</parameter>\n</function>\n</tool_call>",
             "!get_weather{\"city\": \"New\\nYork\", \"days\": 3}"}));

INSTANTIATE_TEST_SUITE_P(
    Others, Answers,
    testing::Values(
        Case{kLlama, "{\"name\": \"add\", \"parameters\": {\"a\": 1}}", "!add{\"a\": 1}"},
        Case{kLlama, " {\"type\": \"function\", \"name\": \"add\", \"parameters\": {\"a\": \"}\"}}",
             "!add{\"a\": \"}\"}"},
        Case{kLlama, "<|python_tag|>{\"name\": \"add\", \"parameters\": {}}; {\"name\": \"add\", \"parameters\": {}}",
             "!add{} | !add{}"},
        Case{kLlama, "<|python_tag|>get_weather.call(city=\"S\\u00e3o\", unit=\"c\")",
             "!get_weather{\"city\": \"São\", \"unit\": \"c\"}"},
        Case{kLlama, "<|python_tag|>print(1)", "c:<|python_tag|>print(1)"},
        Case{kLlama, "{\"answer\": 42}", "c:{\"answer\": 42}"},
        Case{kLlama, "{\"name\": \"Ada\", \"age\": 36}", "c:{\"name\": \"Ada\", \"age\": 36}"},
        Case{kLlama, "{1}", "c:{1}"}, Case{kLlama, "{\"na", "c:{\"na"},
        Case{kLlama, "I call {\"name\": \"add\"}", "c:I call {\"name\": \"add\"}"},
        Case{kMistral, "[TOOL_CALLS][{\"name\": \"add\", \"arguments\": {\"a\": 1}, \"id\": \"123456789\"}]",
             "!add{\"a\": 1}"},
        Case{kMistral, "[TOOL_CALLS] [{\"name\": \"add\"}, {\"name\": \"get_weather\"}]", "!add{} | !get_weather{}"},
        Case{kMistral, "[TOOL_CALLS]add[ARGS]{\"a\": 1}[TOOL_CALLS]get_weather[CALL_ID]123456789[ARGS]{}",
             "!add{\"a\": 1} | !get_weather{}"},
        Case{kMistral, "Sure.[TOOL_CALLS]add{\"a\": 1}", "c:Sure. | !add{\"a\": 1}"},
        Case{kMistral, "[TOOL_CALLS]oops", "c:[TOOL_CALLS]oops"},
        Case{kDeep,
             "Now. <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>add<｜tool▁sep｜>{\"a\": 1}<｜tool▁call▁end｜>"
             "<｜tool▁call▁begin｜>add<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
             "c:Now. | !add{\"a\": 1} | !add{}"},
        Case{kDeep,
             "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n{\"a\": 1}\n```"
             "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
             "!add{\"a\": 1}"},
        Case{kDeep, "<｜tool▁call▁begin｜>add<｜tool▁call▁end｜>", "c:<｜tool▁call▁begin｜>add<｜tool▁call▁end｜>"},
        Case{CallFamily::kKimi,
             "<|tool_calls_section_begin|><|tool_call_begin|>functions.add:0<|tool_call_argument_begin|>{\"a\": 1}"
             "<|tool_call_end|><|tool_calls_section_end|>",
             "!add{\"a\": 1}"},
        Case{CallFamily::kCommandR,
             "<|START_ACTION|>[\n{\"tool_call_id\": \"0\", \"tool_name\": \"add\", \"parameters\": {\"a\": 1}}\n]"
             "<|END_ACTION|>",
             "!add{\"a\": 1}"},
        Case{CallFamily::kCommandR, "<|START_RESPONSE|>Hi<|END_RESPONSE|>", "c:Hi"},
        Case{CallFamily::kNone, "<tool_call>{\"name\": \"add\"}</tool_call>",
             "c:<tool_call>{\"name\": \"add\"}</tool_call>"}));

INSTANTIATE_TEST_SUITE_P(
    Harmony, Answers,
    testing::Values(
        Case{kGptOss,
             "<|channel|>analysis<|message|>User says hi.<|end|><|start|>assistant<|channel|>final<|message|>Hi!"
             "<|return|>",
             "r:User says hi. | c:Hi!"},
        Case{kGptOss,
             "<|channel|>analysis<|message|>Add.<|end|><|start|>assistant<|channel|>commentary to=functions.add "
             "<|constrain|>json<|message|>{\"a\": 1}<|call|>",
             "r:Add. | !add{\"a\": 1}"},
        Case{kGptOss, " to=functions.add<|channel|>commentary json<|message|>{\"a\": 1}", "!add{\"a\": 1}"},
        Case{kGptOss, "<|channel|>commentary<|message|>I will look.<|end|>", "c:I will look."},
        Case{kGptOss, "<|channel|>commentary to=functions.add<|message|>{oops<|call|>", "c:{oops"},
        Case{kGptOss, "Just text < and more", "c:Just text < and more"}, Case{kGptOss, "<|channel|>anal", ""}));

TEST(AnswerParser, WithoutToolsACallIsText) {
  const std::string text = "a \n<tool_call>{\"name\": \"add\"}</tool_call> ";
  EXPECT_EQ(Parse(kTagged, text, {}, 1), "c:" + text);
}

TEST(AnswerParser, OneCallEndsTheAnswer) {
  const std::string call = "<tool_call>{\"name\": \"add\"}</tool_call>";
  EXPECT_EQ(Parse(kTagged, call + call + "more", {.tools = kTools, .one_call = true}, 3), "!add{}");
  EXPECT_EQ(
      Parse(kMistral, "[TOOL_CALLS][{\"name\": \"add\"}, {\"name\": \"add\"}]", {.tools = kTools, .one_call = true}, 3),
      "!add{}");
}

TEST(AnswerParser, ThePromptMayHaveBegunTheReasoning) {
  EXPECT_EQ(Parse(kDeep, "Hm.\n</think>\n\nYes.", {.in_reasoning = true}, 1), "r:Hm. | c:Yes.");
}

TEST(AnswerParser, ContentStreamsAtOnce) {
  const auto parser = MakeAnswerParser({.family = kTagged}, {.tools = kTools});
  EXPECT_EQ(Shown(parser->Push("Hello")), "c:Hello");
  EXPECT_EQ(Shown(parser->Push(" you <")), "c: you");
  EXPECT_EQ(Shown(parser->Push("3")), "c: <3");
}

TEST(AnswerParser, LongCallsCostLinearTime) {
  std::string text = "<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": \"";
  text.append(2'000'000, '<');
  const std::string shown = Parse(kTagged, text + "\"}}</tool_call>", {.tools = kTools}, 5);
  EXPECT_EQ(shown.size(), 2'000'000 + std::string("!add{\"a\": \"\"}").size());
}

}  // namespace
}  // namespace barn
