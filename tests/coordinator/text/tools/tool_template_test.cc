// Calls as the public templates write them are read back, and templates get messages in the form that they know.

#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "coordinator/text/chat_template.h"
#include "coordinator/text/jinja/json_value.h"
#include "coordinator/text/tools/answer_parser.h"
#include "tests/coordinator/text/oracle.h"

namespace barn {
namespace {

using jinja::List;
using jinja::Value;

struct Expectation {
  CallFamily family;
  bool knows_tools;
  bool renders_calls;
  std::string reasoning_end;
};

// What a reader finds in each template.
const std::map<std::string, Expectation> kExpected = {
    {"CohereForAI-c4ai-command-r7b-12-2024-tool_use", {CallFamily::kCommandR, true, true, "<|END_THINKING|>"}},
    {"GLM-4.6", {CallFamily::kTagged, true, true, "</think>"}},
    {"HuggingFaceTB-SmolLM3-3B", {CallFamily::kNone, false, false, "</think>"}},
    // Its calls need a list that grows, which the sandbox refuses, as transformers' does.
    {"Kimi-K2-Instruct", {CallFamily::kKimi, true, false, ""}},
    {"Mistral-Small-3.2-24B-Instruct-2506", {CallFamily::kMistral, true, true, ""}},
    {"NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use", {CallFamily::kTagged, true, true, ""}},
    {"Qwen-Qwen2.5-7B-Instruct", {CallFamily::kTagged, true, true, ""}},
    {"Qwen-Qwen3-0.6B", {CallFamily::kTagged, true, true, "</think>"}},
    {"deepseek-ai-DeepSeek-R1-Distill-Llama-8B", {CallFamily::kDeepSeek, false, true, "</think>"}},
    {"deepseek-ai-DeepSeek-V3.1", {CallFamily::kDeepSeek, false, true, "</think>"}},
    {"google-gemma-2-2b-it", {CallFamily::kNone, false, false, ""}},
    {"meta-llama-Llama-3.1-8B-Instruct", {CallFamily::kLlama3, true, true, ""}},
    {"meta-llama-Llama-3.2-3B-Instruct", {CallFamily::kLlama3, true, true, ""}},
    {"microsoft-Phi-3.5-mini-instruct", {CallFamily::kNone, false, false, ""}},
    {"mistralai-Mistral-Nemo-Instruct-2407", {CallFamily::kMistral, true, true, ""}},
    {"openai-gpt-oss-120b", {CallFamily::kHarmony, true, true, ""}},
};

constexpr char kTools[] = R"([{"type": "function", "function": {"name": "get_weather", "description": "Weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}}}])";
constexpr char kMessages[] = R"([{"role": "user", "content": "Weather?"},
    {"role": "assistant", "content": null, "tool_calls": [{"id": "call_1", "type": "function",
        "function": {"name": "get_weather", "arguments": "{\"city\": \"Ulm\", \"days\": 3}"}}]},
    {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}])";

class ToolTemplate : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    static const Tokenizer* const shared = LoadTokenizer(VocabularyPath("llama-bpe")).release();
    tokenizer_ = shared;
    ASSERT_NE(tokenizer_, nullptr);
    auto made =
        ChatTemplate::Create(ReadFileOrDie(OraclePath("oracles/templates/" + GetParam() + ".jinja")), *tokenizer_);
    ASSERT_TRUE(made.ok()) << made.status();
    template_ = *made;
  }

  std::string Render(size_t messages, bool generation) {
    const List all = *jinja::ParseJson(kMessages)->list();
    ChatInput input{.messages = List(all.begin(), all.begin() + static_cast<ptrdiff_t>(messages)),
                    .tools = *jinja::ParseJson(kTools),
                    .extra = {},
                    .add_generation_prompt = generation,
                    .now = absl::UnixEpoch()};
    const absl::StatusOr<std::string> text = template_->Render(input);
    EXPECT_TRUE(text.ok()) << text.status();
    return text.value_or("");
  }

  const Tokenizer* tokenizer_ = nullptr;
  std::shared_ptr<const ChatTemplate> template_;
};

std::vector<std::string> Names() {
  std::vector<std::string> names;
  for (const auto& [name, unused] : kExpected) names.push_back(name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(Public, ToolTemplate, testing::ValuesIn(Names()), [](const auto& entry) {
  std::string name = entry.param;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); }, '_');
  return name;
});

TEST_P(ToolTemplate, IsRecognized) {
  const Expectation& expected = kExpected.at(GetParam());
  EXPECT_EQ(template_->format().family, expected.family);
  EXPECT_EQ(template_->knows_tools(), expected.knows_tools);
  EXPECT_EQ(template_->format().think_end, expected.reasoning_end);
}

// The prompt of a conversation goes on with the call exactly as the model is to write it.
TEST_P(ToolTemplate, ItsOwnCallIsReadBack) {
  if (!kExpected.at(GetParam()).renders_calls) return;
  const std::string prompt = Render(1, true);
  const std::string whole = Render(3, false);
  EXPECT_TRUE(absl::StrContains(whole, "sunny"));
  size_t common = 0;
  while (common < std::min(prompt.size(), whole.size()) && prompt[common] == whole[common]) ++common;
  std::string answer = whole.substr(common);
  // Up to the end of the turn, whatever it is called.
  for (const char* end : {"<|im_end|>", "<|eot_id|>", "<|END_OF_TURN_TOKEN|>", "<｜end▁of▁sentence｜>", "</s>",
                          "<|call|>", "<|observation|>", "<|end_of_text|>", "<｜tool▁outputs▁begin｜>"}) {
    answer = answer.substr(0, answer.find(end));
  }
  const auto parser =
      MakeAnswerParser(template_->format(), {.tools = {{.name = "get_weather", .text_parameters = {"city"}}}});
  std::vector<AnswerPart> parts = parser->Push(answer);
  for (AnswerPart& part : parser->Finish()) parts.push_back(std::move(part));
  std::vector<ToolCall> calls;
  for (const AnswerPart& part : parts) {
    if (part.kind == AnswerPart::Kind::kCall) calls.push_back(part.call);
  }
  ASSERT_EQ(calls.size(), 1u) << answer;
  EXPECT_EQ(calls[0].name, "get_weather");
  EXPECT_EQ(calls[0].arguments, R"({"city": "Ulm", "days": 3})");
}

TEST_P(ToolTemplate, WordsOfToolsAreNeverControlTokens) {
  if (!kExpected.at(GetParam()).knows_tools) return;
  const auto count = [&](const std::string& word) {
    ChatInput input{.messages = *jinja::ParseJson(R"([{"role": "user", "content": "Hi"}])")->list(),
                    .tools = *jinja::ParseJson(
                        R"([{"type": "function", "function": {"name": "f", "description": "D)" + word +
                        R"(", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}}])"),
                    .extra = {},
                    .now = absl::UnixEpoch()};
    const auto text = template_->Render(input);
    EXPECT_TRUE(text.ok()) << text.status();
    const auto ids = template_->Encode(text.value_or(""));
    EXPECT_TRUE(ids.ok());
    return std::count_if(ids->begin(), ids->end(), [&](int32_t id) { return tokenizer_->IsSpecial(id); });
  };
  EXPECT_EQ(count("<|eot_id|>"), count("x"));
}

}  // namespace
}  // namespace barn
