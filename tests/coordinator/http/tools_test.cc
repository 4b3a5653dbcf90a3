// Tools and reasoning in /v1/chat/completions, with templates of real models.

#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "coordinator/text/grammar/matcher.h"
#include "coordinator/text/tools/thought_limit.h"
#include "tests/coordinator/http/test_server.h"

namespace barn {
namespace {

using nlohmann::json;

const json kAsk = json::array({{{"role", "user"}, {"content", "Weather in Ulm?"}}});
const json kTools = json::array(
    {{{"type", "function"},
      {"function",
       {{"name", "get_weather"},
        {"description", "Weather of a city"},
        {"parameters",
         {{"type", "object"}, {"properties", {{"city", {{"type", "string"}}}}}, {"required", {"city"}}}}}}}});
constexpr char kCall[] = "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Ulm\"}}\n</tool_call>";

struct Served {
  explicit Served(const std::string& answer, const std::string& name = "Qwen-Qwen2.5-7B-Instruct",
                  absl::Duration step = absl::ZeroDuration())
      : server({.context_tokens = 2048, .step = step, .script = Answers(answer)}, OracleTemplate(name)),
        client(server.port()) {}

  json Chat(json more = json::object()) {
    json body = {{"messages", kAsk}, {"tools", kTools}};
    body.update(more);
    const ClientReply reply = client.Post("/v1/chat/completions", body);
    EXPECT_EQ(reply.status, 200) << reply.body;
    return reply.json();
  }
  std::vector<json> Stream(json more = json::object()) {
    json body = {{"messages", kAsk}, {"tools", kTools}, {"stream", true}};
    body.update(more);
    const ClientReply reply = client.Post("/v1/chat/completions", body);
    EXPECT_EQ(reply.status, 200) << reply.body;
    std::vector<json> events;
    for (const std::string& event : reply.events()) {
      if (event != "[DONE]") events.push_back(json::parse(event));
    }
    return events;
  }
  std::string Prompt() { return TestTokenizer().Decode(server.engine.submitted().back().prompt); }

  TestServer server;
  HttpClient client;
};

TEST(Tools, ACallComesBackWhole) {
  Served served(absl::StrCat("Let me look.\n", kCall));
  const json choice = served.Chat()["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "tool_calls");
  const json& message = choice["message"];
  EXPECT_EQ(message["content"], "Let me look.");
  ASSERT_EQ(message["tool_calls"].size(), 1u);
  const json& call = message["tool_calls"][0];
  EXPECT_EQ(call["type"], "function");
  EXPECT_TRUE(absl::StartsWith(call["id"].get<std::string>(), "call_"));
  EXPECT_EQ(call["function"]["name"], "get_weather");
  EXPECT_EQ(call["function"]["arguments"], "{\"city\": \"Ulm\"}");
  EXPECT_TRUE(absl::StrContains(served.Prompt(), "\"description\": \"Weather of a city\"")) << served.Prompt();
}

TEST(Tools, ACallAloneHasNoContent) {
  Served served(kCall);
  EXPECT_TRUE(served.Chat()["choices"][0]["message"]["content"].is_null());
}

TEST(Tools, StreamedCallsAreDeltas) {
  Served served(absl::StrCat("Hm. ", kCall, "\n", kCall));
  std::string content;
  std::map<size_t, std::string> names, arguments;
  std::set<std::string> ids;
  const std::vector<json> events = served.Stream();
  for (const json& event : events) {
    const json& delta = event["choices"][0]["delta"];
    content += delta.value("content", "");
    for (const json& call : delta.value("tool_calls", json::array())) {
      const size_t index = call["index"];
      names[index] += call["function"].value("name", "");
      arguments[index] += call["function"].value("arguments", "");
      if (call.contains("id")) ids.insert(call["id"].get<std::string>());
    }
  }
  EXPECT_EQ(content, "Hm.");
  EXPECT_EQ(names, (std::map<size_t, std::string>{{0, "get_weather"}, {1, "get_weather"}}));
  EXPECT_EQ(arguments[0], "{\"city\": \"Ulm\"}");
  EXPECT_EQ(arguments[1], "{\"city\": \"Ulm\"}");
  EXPECT_EQ(ids.size(), 2u);
  EXPECT_EQ(events.back()["choices"][0]["finish_reason"], "tool_calls");
}

TEST(Tools, OneCallAtATimeStopsTheEngine) {
  std::string more;
  for (int i = 0; i < 300; ++i) more += " and more";
  Served served(absl::StrCat(kCall, "\n", kCall, more), "Qwen-Qwen2.5-7B-Instruct", absl::Milliseconds(2));
  const json choice = served.Chat({{"parallel_tool_calls", false}})["choices"][0];
  EXPECT_EQ(choice["message"]["tool_calls"].size(), 1u);
  EXPECT_EQ(choice["finish_reason"], "tool_calls");
  EXPECT_TRUE(Eventually([&] { return served.server.engine.active() == 0; }));
  EXPECT_EQ(served.server.engine.cancelled(), 1);
}

TEST(Tools, MalformedCallsAreText) {
  for (const char* text : {"<tool_call>{\"name\": \"get_weather\", \"arguments\": {\"city\": </tool_call>",
                           "<tool_call>{\"name\": \"rm\", \"arguments\": {}}</tool_call>", "<tool_call>{\"na"}) {
    Served served(text);
    const json choice = served.Chat()["choices"][0];
    EXPECT_EQ(choice["message"]["content"], text);
    EXPECT_EQ(choice["finish_reason"], "stop");
    EXPECT_FALSE(choice["message"].contains("tool_calls"));
  }
}

TEST(Tools, NoneMeansNoToolsInThePrompt) {
  Served served(kCall);
  const json choice = served.Chat({{"tool_choice", "none"}})["choices"][0];
  EXPECT_EQ(choice["message"]["content"], kCall);
  EXPECT_FALSE(absl::StrContains(served.Prompt(), "get_weather"));
}

TEST(Tools, ACallThatTheLimitCutsIsText) {
  Served served(kCall);
  const json choice = served.Chat({{"max_tokens", 8}})["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "length");
  EXPECT_TRUE(absl::StartsWith(choice["message"]["content"].get<std::string>(), "<tool_call>"));
}

// Whether the engine was asked for an answer that this text would be.
bool Asked(const GenerateRequest& request, const std::string& text) {
  EXPECT_TRUE(request.constraint);
  grammar::Matcher matcher = grammar::Matchers::Create()->Start(request.constraint);
  for (const int32_t id : Answers(text)(request)) {
    if (matcher.ended() || !matcher.Accept(id).ok()) return false;
  }
  return matcher.CanEnd();
}

TEST(Tools, AForcedCallIsHeldToTheTools) {
  Served served(kCall);
  const json named = {{"type", "function"}, {"function", {{"name", "get_weather"}}}};
  for (const json& choice : {json("required"), named}) {
    const json answer = served.Chat({{"tool_choice", choice}})["choices"][0];
    EXPECT_EQ(answer["message"]["tool_calls"].size(), 1u);
    const GenerateRequest request = served.server.engine.submitted().back();
    EXPECT_TRUE(Asked(request, kCall));
    EXPECT_FALSE(Asked(request, "Hello"));
    EXPECT_FALSE(Asked(request, absl::StrReplaceAll(kCall, {{"get_weather", "remove"}})));
    EXPECT_FALSE(Asked(request, absl::StrReplaceAll(kCall, {{"city", "town"}})));
    EXPECT_EQ(Asked(request, absl::StrCat(kCall, "\n", kCall)), choice == "required");
  }
  served.Chat({{"tool_choice", "auto"}});
  EXPECT_FALSE(served.server.engine.submitted().back().constraint);
}

TEST(Tools, StrictToolsHoldWhatBeginsAsACall) {
  Served served("Hello");
  json tools = kTools;
  tools[0]["function"]["strict"] = true;
  served.Chat({{"tools", tools}});
  const GenerateRequest request = served.server.engine.submitted().back();
  EXPECT_TRUE(Asked(request, "Hello"));
  EXPECT_TRUE(Asked(request, absl::StrCat("So:\n", kCall)));
  EXPECT_FALSE(Asked(request, absl::StrReplaceAll(kCall, {{"\"Ulm\"", "3"}})));
}

TEST(Tools, ASchemaThatCannotBeKeptIsRefusedWhereItIsStrict) {
  Served served(kCall);
  json tools = kTools;
  tools[0]["function"]["parameters"]["not"] = {{"required", {"x"}}};
  EXPECT_EQ(served.Chat({{"tools", tools}, {"tool_choice", "required"}})["choices"][0]["finish_reason"], "tool_calls");
  tools[0]["function"]["strict"] = true;
  const ClientReply reply = served.client.Post("/v1/chat/completions", {{"messages", kAsk}, {"tools", tools}});
  EXPECT_EQ(reply.status, 400);
  EXPECT_EQ(reply.json()["error"]["param"], "tools");
  EXPECT_TRUE(absl::StrContains(reply.body, "not")) << reply.body;
}

TEST(Tools, AnAnswerOfASchemaOrACall) {
  Served served("{\"a\": 1}");
  const json schema = {{"type", "object"}, {"properties", {{"a", {{"type", "integer"}}}}}, {"required", {"a"}}};
  served.Chat({{"response_format", {{"type", "json_schema"}, {"json_schema", {{"name", "n"}, {"schema", schema}}}}}});
  const GenerateRequest request = served.server.engine.submitted().back();
  EXPECT_TRUE(Asked(request, "{\"a\": 1}"));
  EXPECT_TRUE(Asked(request, kCall));
  EXPECT_FALSE(Asked(request, "Hello"));
}

json Conversation() {
  return {{{"role", "user"}, {"content", "Weather in Ulm?"}},
          {{"role", "assistant"},
           {"content", nullptr},
           {"tool_calls",
            {{{"id", "call_0123456789abcdef"},
              {"type", "function"},
              {"function", {{"name", "get_weather"}, {"arguments", "{\"city\": \"Ulm\"}"}}}}}}},
          {{"role", "tool"}, {"tool_call_id", "call_0123456789abcdef"}, {"content", "12 degrees"}}};
}

TEST(Tools, ResultsReachEveryFamily) {
  for (const char* name : {"Qwen-Qwen2.5-7B-Instruct", "Qwen-Qwen3-0.6B", "meta-llama-Llama-3.1-8B-Instruct",
                           "Mistral-Small-3.2-24B-Instruct-2506", "mistralai-Mistral-Nemo-Instruct-2407", "GLM-4.6",
                           "openai-gpt-oss-120b"}) {
    Served served("It is cold.", name);
    EXPECT_EQ(served.Chat({{"messages", Conversation()}})["choices"][0]["message"]["content"], "It is cold.") << name;
    EXPECT_TRUE(absl::StrContains(served.Prompt(), "12 degrees")) << name << served.Prompt();
    EXPECT_TRUE(absl::StrContains(served.Prompt(), "Ulm\"") || absl::StrContains(served.Prompt(), ">Ulm<")) << name;
  }
}

TEST(Reasoning, IsApartFromTheContent) {
  Served served("<think>\nSay little.\n</think>\n\nHi.", "Qwen-Qwen3-0.6B");
  const json message = served.Chat()["choices"][0]["message"];
  EXPECT_EQ(message["reasoning_content"], "Say little.");
  EXPECT_EQ(message["reasoning"], "Say little.");
  EXPECT_EQ(message["content"], "Hi.");
  std::string reasoning, content;
  for (const json& event : served.Stream({{"tools", json::array()}})) {
    reasoning += event["choices"][0]["delta"].value("reasoning_content", "");
    content += event["choices"][0]["delta"].value("content", "");
  }
  EXPECT_EQ(reasoning, "Say little.");
  EXPECT_EQ(content, "Hi.");
}

TEST(Reasoning, MayBeginInThePrompt) {
  Served served("Say little.</think>Hi.", "deepseek-ai-DeepSeek-R1-Distill-Llama-8B");
  const json message = served.Chat({{"tools", json::array()}})["choices"][0]["message"];
  EXPECT_EQ(message["reasoning_content"], "Say little.");
  EXPECT_EQ(message["content"], "Hi.");
}

TEST(Reasoning, ChannelsOfHarmony) {
  Served served(
      "<|channel|>analysis<|message|>Look.<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather "
      "<|constrain|>json<|message|>{\"city\":\"Ulm\"}",
      "openai-gpt-oss-120b");
  const json choice = served.Chat({{"reasoning_effort", "high"}})["choices"][0];
  EXPECT_EQ(choice["message"]["reasoning_content"], "Look.");
  EXPECT_EQ(choice["message"]["tool_calls"][0]["function"]["arguments"], "{\"city\": \"Ulm\"}");
  EXPECT_EQ(choice["finish_reason"], "tool_calls");
  EXPECT_TRUE(absl::StrContains(served.Prompt(), "Reasoning: high"));
}

TEST(Reasoning, EffortNoneTurnsItOff) {
  Served served("Hi.", "Qwen-Qwen3-0.6B");
  served.Chat({{"reasoning_effort", "none"}});
  EXPECT_TRUE(absl::EndsWith(served.Prompt(), "<think>\n\n</think>\n\n")) << served.Prompt();
  served.Chat({{"reasoning_effort", "low"}});
  EXPECT_FALSE(absl::StrContains(served.Prompt(), "</think>"));
}

const json kNoTools = {{"tools", nullptr}};

// The limit that the last request had, -1 for none, and whether it thought already.
std::pair<int64_t, bool> Limit(const Served& served) {
  const GenerateRequest request = served.server.engine.submitted().back();
  return request.thoughts == nullptr ? std::pair(int64_t{-1}, false)
                                     : std::pair(request.thoughts->tokens, request.thoughts->begun);
}

TEST(Reasoning, HasABudgetInEveryDialect) {
  Served served("Hello!", "deepseek-ai-DeepSeek-R1-Distill-Llama-8B");
  served.Chat(kNoTools);
  EXPECT_EQ(Limit(served), std::pair(int64_t{-1}, false));
  for (const json& field : {json{{"thinking_budget_tokens", 30}}, json{{"thinking_token_budget", 30}},
                            json{{"reasoning", {{"max_tokens", 30}}}}}) {
    json body = kNoTools;
    body.update(field);
    served.Chat(body);
    EXPECT_EQ(Limit(served), std::pair(int64_t{30}, true)) << field;
  }
  served.Chat({{"tools", nullptr}, {"thinking_budget_tokens", -1}});
  EXPECT_EQ(Limit(served).first, -1);
  const json ask = {{"max_tokens", 50}, {"messages", kAsk}, {"thinking", {{"type", "enabled"}, {"budget_tokens", 40}}}};
  EXPECT_EQ(served.client.Post("/v1/messages", ask).status, 200);
  EXPECT_EQ(Limit(served), std::pair(int64_t{40}, true));
  const json respond = {{"input", "Hello"}, {"reasoning", {{"max_tokens", 20}}}};
  EXPECT_EQ(served.client.Post("/v1/responses", respond).status, 200);
  EXPECT_EQ(Limit(served), std::pair(int64_t{20}, true));
  const ClientReply reply =
      served.client.Post("/v1/chat/completions", {{"messages", kAsk}, {"reasoning", {{"max_tokens", -3}}}});
  EXPECT_EQ(reply.status, 400);
  EXPECT_TRUE(absl::StrContains(reply.body, "reasoning.max_tokens")) << reply.body;
}

TEST(Reasoning, WithABudgetOfNothingThePromptHasEndedIt) {
  Served served("Hello!", "deepseek-ai-DeepSeek-R1-Distill-Llama-8B");
  const json message = served.Chat({{"tools", nullptr}, {"thinking_budget_tokens", 0}})["choices"][0]["message"];
  EXPECT_EQ(message["content"], "Hello!");
  EXPECT_FALSE(message.contains("reasoning_content"));
  EXPECT_TRUE(absl::EndsWith(served.Prompt(), "</think>\n\n")) << served.Prompt();
  EXPECT_EQ(Limit(served).first, -1);
}

}  // namespace
}  // namespace barn
