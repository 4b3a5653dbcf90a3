// Texts and tokens, and who is told of errors in which words.

#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "tests/coordinator/http/test_server.h"

namespace barn {
namespace {

using nlohmann::json;

TEST(TextRoutes, TokensThereAndBack) {
  TestServer server;
  HttpClient client(server.port());
  const json tokens = client.Post("/tokenize", {{"content", "Hello there"}}).json();
  EXPECT_EQ(tokens["tokens"], json(Ids("Hello there")));
  EXPECT_EQ(tokens["count"], Ids("Hello there").size());
  const json text = client.Post("/detokenize", {{"tokens", tokens["tokens"]}}).json();
  EXPECT_EQ(text["content"], " Hello there");
  const json begun = client.Post("/tokenize", {{"prompt", "x"}, {"add_special", true}}).json();
  EXPECT_EQ(begun["tokens"][0], TestTokenizer().vocabulary().bos);
  const json pieces = client.Post("/tokenize", {{"content", "\u4e16"}, {"with_pieces", true}}).json();
  for (const json& token : pieces["tokens"]) EXPECT_TRUE(token["piece"].is_string() || token["piece"].is_array());
}

TEST(TextRoutes, ControlTokensAreReadUnlessRefused) {
  TestServer server;
  HttpClient client(server.port());
  EXPECT_EQ(client.Post("/tokenize", {{"content", "</s>"}}).json()["count"], 1);
  EXPECT_GT(client.Post("/tokenize", {{"content", "</s>"}, {"parse_special", false}}).json()["count"], 1);
}

TEST(TextRoutes, TheTemplateIsShown) {
  TestServer server({}, OracleTemplate("Qwen-Qwen2.5-7B-Instruct"));
  HttpClient client(server.port());
  const json body = {{"messages", json::array({{{"role", "user"}, {"content", "Say </s>"}}})}};
  const json shown = client.Post("/apply-template", body).json();
  EXPECT_TRUE(absl::EndsWith(shown["prompt"].get<std::string>(),
                             "<|im_start|>user\nSay </s><|im_end|>\n<|im_start|>assistant\n"))
      << shown;
  EXPECT_GT(shown["count"], 10);
}

TEST(TextRoutes, ErrorsNameTheField) {
  TestServer server;
  HttpClient client(server.port());
  const auto param = [&](const char* path, const json& body) {
    const ClientReply reply = client.Post(path, body);
    EXPECT_EQ(reply.status, 400) << reply.body;
    return reply.json()["error"]["param"].dump();
  };
  EXPECT_EQ(param("/tokenize", json::object()), "\"content\"");
  EXPECT_EQ(param("/tokenize", {{"content", 3}}), "\"content\"");
  EXPECT_EQ(param("/detokenize", {{"tokens", {32000}}}), "\"tokens\"");
  EXPECT_EQ(param("/detokenize", {{"tokens", {-1}}}), "\"tokens\"");
  EXPECT_EQ(param("/apply-template", json::object()), "\"messages\"");
}

TEST(Dialects, ErrorsHaveTheirShape) {
  TestServer server;
  HttpClient client(server.port());
  const json anthropic = client.PostText("/v1/messages", "{oops").json();
  EXPECT_EQ(anthropic["type"], "error");
  EXPECT_EQ(anthropic["error"]["type"], "invalid_request_error");
  const json ollama = client.PostText("/api/chat", "{oops").json();
  EXPECT_TRUE(ollama["error"].is_string()) << ollama;
  EXPECT_EQ(client.Get("/api/chat").status, 405);
  EXPECT_TRUE(client.Get("/api/nothing").json()["error"].is_string());
  EXPECT_EQ(client.Get("/v1/messages").headers.at("allow"), "POST");
  // The engine's refusals too.
  server.engine.SetReady(false, "loading 41 %");
  const json hello = json::array({{{"role", "user"}, {"content", "Hi"}}});
  const ClientReply busy = client.Post("/v1/messages", {{"model", kTestModel}, {"max_tokens", 1}, {"messages", hello}});
  EXPECT_EQ(busy.status, 503);
  EXPECT_EQ(busy.json()["error"]["type"], "overloaded_error");
  const ClientReply waiting = client.Post("/api/chat", {{"model", kTestModel}, {"messages", hello}});
  EXPECT_EQ(waiting.status, 503);
  EXPECT_EQ(waiting.json()["error"], "loading 41 %");
}

// A failure after the first token comes inside the stream, in the dialect's own form.
TEST(Dialects, BrokenStreamsSaySo) {
  TestServer server({.step = absl::Milliseconds(200), .fail_after = 2});
  HttpClient client(server.port());
  const json hello = json::array({{{"role", "user"}, {"content", "Hi"}}});
  const ClientReply anthropic =
      client.Post("/v1/messages", {{"model", kTestModel}, {"max_tokens", 9}, {"stream", true}, {"messages", hello}});
  EXPECT_EQ(anthropic.status, 200);
  EXPECT_TRUE(absl::StrContains(anthropic.body, "event: error\ndata: {\"error\":{\"message\":\"worker 1 is gone\""))
      << anthropic.body;
  const ClientReply ollama = client.Post("/api/chat", {{"model", kTestModel}, {"messages", hello}});
  EXPECT_EQ(ollama.status, 200);
  EXPECT_EQ(ollama.headers.at("content-type"), "application/x-ndjson");
  EXPECT_TRUE(absl::EndsWith(ollama.body, "{\"error\":\"worker 1 is gone\"}\n")) << ollama.body;
}

}  // namespace
}  // namespace barn
