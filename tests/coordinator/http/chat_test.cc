#include <gtest/gtest.h>

#include <algorithm>

#include "tests/coordinator/http/test_server.h"

namespace barn {
namespace {

using nlohmann::json;

std::function<std::vector<int32_t>(const GenerateRequest&)> Says(const std::string& text) {
  return [ids = Ids(text)](const GenerateRequest&) { return ids; };
}

const json kHello = json::array({{{"role", "user"}, {"content", "Say hello."}}});

TEST(Chat, AnswersWithTheRestOfTheContextAsLimit) {
  TestServer server({.script = Says("Hello there")});
  HttpClient client(server.port());
  const ClientReply reply = client.Post("/v1/chat/completions", {{"model", "other-name"}, {"messages", kHello}});
  ASSERT_EQ(reply.status, 200) << reply.body;
  const json body = reply.json();
  EXPECT_EQ(body["object"], "chat.completion");
  EXPECT_EQ(body["choices"][0]["message"]["role"], "assistant");
  EXPECT_EQ(body["choices"][0]["message"]["content"], " Hello there");
  EXPECT_EQ(body["choices"][0]["finish_reason"], "stop");
  const GenerateRequest got = server.engine.submitted()[0];
  EXPECT_EQ(got.max_tokens + static_cast<int64_t>(got.prompt.size()), 256);
  EXPECT_EQ(TestTokenizer().Decode(got.prompt), "user: Say hello.\nassistant:");
}

TEST(Chat, RendersTheTemplateWithWhatTheClientWrote) {
  TestServer server({.script = Says("Hello")},
                    "{% for m in messages %}[{{ m.role }}] {{ m.content }}{% if m.name %} ({{ m.name }}){% endif %} / "
                    "{% endfor %}{{ style }}>");
  HttpClient client(server.port());
  const json messages = {{{"role", "user"}, {"content", "Say <s>"}, {"name", "ana"}}};
  const ClientReply reply =
      client.Post("/v1/chat/completions",
                  {{"messages", messages}, {"chat_template_kwargs", {{"style", "brief"}}}, {"max_tokens", 4}});
  ASSERT_EQ(reply.status, 200) << reply.body;
  const GenerateRequest got = server.engine.submitted()[0];
  EXPECT_EQ(TestTokenizer().Decode(got.prompt), "[user] Say <s> (ana) / brief>");
  EXPECT_EQ(std::count(got.prompt.begin(), got.prompt.end(), TestTokenizer().vocabulary().bos), 1)
      << "a user's text is no control token";
  EXPECT_EQ(client.Get("/v1/models").json()["data"][0]["barn"]["chat_template"], "the model's own");
}

TEST(Chat, SaysWhatTheTemplateRefusesAndWhere) {
  TestServer server({}, "\n{{ raise_exception('no ' ~ messages[0].role ~ ' here') }}");
  HttpClient client(server.port());
  const ClientReply reply = client.Post("/v1/chat/completions", {{"messages", kHello}});
  EXPECT_EQ(reply.status, 400);
  EXPECT_EQ(reply.json()["error"]["message"], "the model's chat template: line 2: no user here");
  EXPECT_EQ(reply.json()["error"]["param"], "messages");
  const ClientReply wrong =
      client.Post("/v1/chat/completions", {{"messages", kHello}, {"chat_template_kwargs", {1, 2}}});
  EXPECT_EQ(wrong.status, 400);
  EXPECT_EQ(wrong.json()["error"]["param"], "chat_template_kwargs");
}

TEST(Chat, ATemplateThatIsNoJinjaEndsChatsOnly) {
  TestServer server({.script = Says("Hello")}, "{% nope %}");
  HttpClient client(server.port());
  const ClientReply reply = client.Post("/v1/chat/completions", {{"messages", kHello}});
  EXPECT_EQ(reply.status, 400);
  EXPECT_EQ(reply.json()["error"]["message"],
            "the model's chat template cannot be used: line 1: the statement 'nope' is not supported here; "
            "--chat-template FILE replaces it");
  EXPECT_EQ(client.Post("/v1/completions", {{"prompt", "x"}, {"max_tokens", 2}}).status, 200);
}

TEST(Chat, PartsJoinAndNewerNamesCount) {
  TestServer server;
  HttpClient client(server.port());
  const json parts = {{{"type", "text"}, {"text", "Say "}}, {{"type", "text"}, {"text", "hello."}}};
  const json body = client
                        .Post("/v1/chat/completions", {{"messages", {{{"role", "user"}, {"content", parts}}}},
                                                       {"max_tokens", nullptr},
                                                       {"max_completion_tokens", 3}})
                        .json();
  EXPECT_EQ(body["usage"]["completion_tokens"], 3) << body;
  EXPECT_EQ(body["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(TestTokenizer().Decode(server.engine.submitted()[0].prompt), "user: Say hello.\nassistant:");
}

TEST(Chat, StreamsRoleTextAndFinish) {
  TestServer server({.script = Says("Hello there")});
  HttpClient client(server.port());
  const ClientReply reply = client.Post("/v1/chat/completions", {{"messages", kHello},
                                                                 {"stream", true},
                                                                 {"n", 2},
                                                                 {"logprobs", true},
                                                                 {"top_logprobs", 2},
                                                                 {"stream_options", {{"include_usage", true}}}});
  ASSERT_EQ(reply.status, 200) << reply.body;
  std::string text[2];
  int roles = 0, finishes = 0;
  json last;
  for (const std::string& event : reply.events()) {
    if (event == "[DONE]") continue;
    last = json::parse(event);
    EXPECT_EQ(last["object"], "chat.completion.chunk");
    for (const json& choice : last["choices"]) {
      const json& delta = choice["delta"];
      roles += delta.contains("role");
      finishes += !choice["finish_reason"].is_null();
      if (delta.contains("content")) text[choice["index"].get<int>()] += delta["content"].get<std::string>();
      if (!choice["logprobs"].is_null()) {
        EXPECT_EQ(choice["logprobs"]["content"][0]["top_logprobs"].size(), 2);
      }
    }
  }
  EXPECT_EQ(reply.events().back(), "[DONE]");
  EXPECT_EQ(roles, 2);
  EXPECT_EQ(finishes, 2);
  EXPECT_EQ(text[0], " Hello there");
  EXPECT_EQ(text[1], text[0]);
  EXPECT_EQ(last["choices"], json::array());
  EXPECT_EQ(last["usage"]["completion_tokens"], 4);
}

TEST(Chat, LogprobsCarryBytes) {
  TestServer server({.script = Says("Hello")});
  HttpClient client(server.port());
  const json body =
      client.Post("/v1/chat/completions", {{"messages", kHello}, {"logprobs", true}, {"top_logprobs", 1}}).json();
  const json& token = body["choices"][0]["logprobs"]["content"][0];
  EXPECT_EQ(token["token"], " Hello");
  EXPECT_EQ(token["bytes"], json({32, 72, 101, 108, 108, 111}));
  EXPECT_EQ(token["logprob"], -0.5);
  EXPECT_EQ(token["top_logprobs"][0]["token"], " Hello");
}

TEST(Chat, SettingsThatAskForNothingAreFine) {
  TestServer server;
  HttpClient client(server.port());
  const ClientReply reply = client.Post(
      "/v1/chat/completions",
      {{"messages", kHello}, {"max_tokens", 1}, {"tools", json::array()}, {"response_format", {{"type", "text"}}}});
  EXPECT_EQ(reply.status, 200) << reply.body;
}

}  // namespace
}  // namespace barn
