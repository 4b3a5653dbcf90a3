#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/coordinator/http/test_server.h"

namespace barn {
namespace {

using nlohmann::json;

struct BadRequest {
  std::string path;
  std::string body;
  int status;
  std::string param;    // "" for null.
  std::string message;  // A part of it.
};

std::string Chat(const std::string& more, const std::string& messages = R"([{"role": "user", "content": "x"}])") {
  return absl::StrCat(R"({"messages": )", messages, more.empty() ? "" : ", ", more, "}");
}

std::string Complete(const std::string& more) { return absl::StrCat(R"({"prompt": "x", )", more, "}"); }

std::string Repeat(const std::string& text, int count) {
  std::string all;
  for (int i = 0; i < count; ++i) all += text;
  return all;
}

const char kChat[] = "/v1/chat/completions";
const char kComplete[] = "/v1/completions";

std::vector<BadRequest> BodyCases() {
  return {
      {kChat, "", 400, "", "not valid JSON"},
      {kChat, R"({"model": "x", "messages": [)", 400, "", "not valid JSON"},
      {kChat, R"({"messages": 1e999})", 400, "", "not valid JSON"},
      {kChat, R"({"temperature": NaN})", 400, "", "not valid JSON"},
      {kChat, "{\"model\": \"\xff\"}", 400, "", "UTF-8"},
      {kChat, R"({"n": 1, "n": 2})", 400, "", "'n' stands twice"},
      {kChat, Repeat("[", 100'000), 400, "", "nested deeper than 64"},
      {kChat, "[]", 400, "", "must be a JSON object, not array"},
      {kChat, "3", 400, "", "must be a JSON object, not number"},
      {kChat, R"({"model": "no-such", "messages": [{"role": "user", "content": "x"}]})", 404, "model", "no-such"},
      {kComplete, R"({"model": "no-such", "prompt": "x"})", 404, "model", "no-such"},
      {kChat, "{}", 400, "messages", "required"},
      {kComplete, "{}", 400, "prompt", "required"},
      {kChat, R"({"messages": "hello"})", 400, "messages", "list"},
      {kChat, R"({"messages": []})", 400, "messages", "empty"},
      {kChat, R"({"messages": [3]})", 400, "messages[0]", "object"},
      {kChat, R"({"messages": [{"content": "no role"}]})", 400, "messages[0].role", "one of"},
      {kChat, R"({"messages": [{"role": "user"}]})", 400, "messages[0].content", "required"},
      {kChat, Chat("", R"([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}])"), 400,
       "messages[0].content", "text"},
      {kChat, Chat("", R"([{"role": "tool", "content": "x", "tool_call_id": "1"}])"), 400, "messages[0]", "tools"},
      {kChat, Chat("", R"([{"role": "tool", "content": "x"}])"), 400, "messages[0].tool_call_id", "required"},
      {kChat, Chat("", R"([{"role": "user", "content": "x", "tool_calls": [{}]}])"), 400, "messages[0].tool_calls",
       "assistant"},
      {kChat, Chat("", R"([{"role": "assistant", "tool_calls": [{"function": {}}]}])"), 400,
       "messages[0].tool_calls[0]", "function.name"},
      {kChat, Chat("", R"([{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": 3}}]}])"), 400,
       "messages[0].tool_calls[0].function.arguments", "JSON object"},
      {kChat, Chat(R"("tools": [{"type": "function"}])"), 400, "tools[0]", "function"},
      {kChat, Chat(R"("tools": 3)"), 400, "tools", "list"},
      {kChat, Chat(R"("tools": [{"type": "function", "function": {"name": ""}}])"), 400, "tools[0]", "name"},
      {kChat, Chat(R"("tools": [{"function": {"name": "f", "parameters": 3}}])"), 400, "tools[0]", "object"},
      {kChat, Chat(R"("tools": [{"function": {"name": "f"}}, {"function": {"name": "f"}}])"), 400, "tools[1]",
       "repeats"},
      {kChat, Chat(R"("tools": [{"function": {"name": "f"}}])"), 400, "tools", "does not support tools"},
      {kChat, Chat(R"("tool_choice": "maybe")"), 400, "tool_choice", "must be"},
      {kChat, Chat(R"("tool_choice": "required")"), 400, "tool_choice", "no tools"},
      {kChat, Chat(R"("tool_choice": {"function": {"name": "g"}}, "tools": [{"function": {"name": "f"}}])"), 400,
       "tool_choice", "'g'"},
      {kChat, Chat(R"("reasoning_effort": "huge")"), 400, "reasoning_effort", "one of"},
      {kChat, Chat(R"("functions": [{"name": "f"}])"), 400, "functions", "not supported"},
      {kChat, Chat(R"("grammar": "root ::= x")"), 400, "grammar", "line 1, column 10: the rule"},
      {kComplete, Complete(R"("grammar": ["root"])"), 400, "grammar", "string"},
      {kChat, Chat(R"("grammar": "root ::= [0-9]", "response_format": {"type": "json_object"})"), 400, "grammar",
       "combined"},
      {kChat, Chat(R"("grammar": "root ::= [0-9]", "ignore_eos": true)"), 400, "ignore_eos", "combined with grammar"},
      {kChat, Chat(R"("response_format": {"type": "xml"})"), 400, "response_format", "json_object or json_schema"},
      {kChat, Chat(R"("response_format": {"type": "json_schema", "json_schema": {"name": "x"}})"), 400,
       "response_format", "schema"},
      {kChat, Chat(R"("response_format": {"type": "json_schema", "json_schema": {"schema": {"items": {"not": {}}}}})"),
       400, "response_format", "#/items/not: this keyword is not supported"},
      {kChat, Chat(R"("response_format": "json")"), 400, "response_format", "object"},
      {kComplete, Complete(R"("suffix": "end")"), 400, "suffix", "cannot fill in the middle"},
  };
}

std::vector<BadRequest> ParameterCases() {
  return {
      {kChat, Chat(R"("model": 3)"), 400, "model", "string"},
      {kChat, Chat(R"("temperature": "hot")"), 400, "temperature", "number"},
      {kChat, Chat(R"("temperature": -0.1)"), 400, "temperature", "from 0 to 2"},
      {kChat, Chat(R"("temperature": 2.1)"), 400, "temperature", "from 0 to 2"},
      {kChat, Chat(R"("top_p": 1.5)"), 400, "top_p", "from 0 to 1"},
      {kChat, Chat(R"("min_p": -1)"), 400, "min_p", "from 0 to 1"},
      {kChat, Chat(R"("top_k": 1.5)"), 400, "top_k", "integer"},
      {kChat, Chat(R"("top_k": -2)"), 400, "top_k", "from -1"},
      {kChat, Chat(R"("typical_p": 1.5)"), 400, "typical_p", "from 0 to 1"},
      {kChat, Chat(R"("typ_p": "x")"), 400, "typ_p", "number"},
      {kChat, Chat(R"("repeat_penalty": 0)"), 400, "repeat_penalty", "from 0.01 to 10"},
      {kChat, Chat(R"("repeat_last_n": -2)"), 400, "repeat_last_n", "from -1 to 65536"},
      {kChat, Chat(R"("mirostat": 1)"), 400, "mirostat", "version 1"},
      {kChat, Chat(R"("mirostat": 3)"), 400, "mirostat", "from 0 to 2"},
      {kChat, Chat(R"("dry_base": 0.5)"), 400, "dry_base", "from 1 to 100"},
      {kChat, Chat(R"("dry_allowed_length": 0)"), 400, "dry_allowed_length", "from 1"},
      {kChat, Chat(R"("dry_sequence_breakers": "x")"), 400, "dry_sequence_breakers", "list of strings"},
      {kChat, Chat(R"("dry_sequence_breakers": [""])"), 400, "dry_sequence_breakers", "entry of 0 bytes"},
      {kChat, Chat(R"("banned_strings": [7])"), 400, "banned_strings", "list of strings"},
      {kChat, Chat(R"("banned_strings": [")" + std::string(257, 'x') + R"("])"), 400, "banned_strings", "257 bytes"},
      {kComplete, Complete(R"("banned_strings": [)" + Repeat("\"x\",", 128) + R"("x"])"), 400, "banned_strings", "129"},
      {kChat, Chat(R"("samplers": 5)"), 400, "samplers", "list of names"},
      {kChat, Chat(R"("samplers": ["top_k", 5])"), 400, "samplers", "names ''"},
      {kChat, Chat(R"("samplers": ["infill"])"), 400, "samplers", "names 'infill'; known are"},
      {kChat, Chat(R"("samplers": ["top_k", "top_k"])"), 400, "samplers", "second time"},
      {kChat, Chat(R"("samplers": "kq")"), 400, "samplers", "edskypmxt"},
      {kChat, Chat(R"("presence_penalty": 3)"), 400, "presence_penalty", "from -2 to 2"},
      {kChat, Chat(R"("frequency_penalty": -3)"), 400, "frequency_penalty", "from -2 to 2"},
      {kChat, Chat(R"("repetition_penalty": 0)"), 400, "repetition_penalty", "from"},
      {kChat, Chat(R"("repeat_penalty": "x")"), 400, "repeat_penalty", "number"},
      {kChat, Chat(R"("seed": "x")"), 400, "seed", "integer"},
      {kChat, Chat(R"("seed": 99999999999999999999)"), 400, "seed", "integer"},
      {kChat, Chat(R"("n": 0)"), 400, "n", "from 1 to 128"},
      {kChat, Chat(R"("n": 1000)"), 400, "n", "from 1 to 128"},
      {kChat, Chat(R"("max_tokens": -5, "stop": ["."])"), 400, "max_tokens", "from 1"},
      {kChat, Chat(R"("max_tokens": 18446744073709551615)"), 400, "max_tokens", "from 1"},
      {kChat, Chat(R"("max_completion_tokens": 0)"), 400, "max_completion_tokens", "from 1"},
      {kChat, Chat(R"("stream": "yes")"), 400, "stream", "true or false"},
      {kChat, Chat(R"("stream_options": {"include_usage": true})"), 400, "stream_options", "stream"},
      {kChat, Chat(R"("stream": true, "stream_options": {"include_usage": 1})"), 400, "stream_options.include_usage",
       "true or false"},
      {kChat, Chat(R"("logprobs": 2)"), 400, "logprobs", "true or false"},
      {kChat, Chat(R"("top_logprobs": 2)"), 400, "top_logprobs", "needs logprobs"},
      {kChat, Chat(R"("logprobs": true, "top_logprobs": 21)"), 400, "top_logprobs", "from 0 to 20"},
      {kChat, Chat(R"("stop": 3)"), 400, "stop", "string"},
      {kChat, Chat(R"("stop": [""])"), 400, "stop", "empty"},
      {kChat, Chat(absl::StrCat(R"("stop": ["x")", Repeat(R"(, "x")", 16), "]")), 400, "stop", "at most 16"},
      {kChat, Chat(absl::StrCat(R"("stop": ")", std::string(2000, 'x'), "\"")), 400, "stop", "at most 1024"},
      {kChat, Chat(R"("logit_bias": [1])"), 400, "logit_bias", "object"},
      {kChat, Chat(R"("logit_bias": {"x": 1})"), 400, "logit_bias", "no token id"},
      {kChat, Chat(R"("logit_bias": {"7": 101})"), 400, "logit_bias", "from -100 to 100"},
      {kChat, Chat(R"("logit_bias": {"32000": 1})"), 400, "logit_bias", "31999"},
      {kComplete, Complete(R"("best_of": 3)"), 400, "best_of", "equals n"},
      {kComplete, Complete(R"("logprobs": 21)"), 400, "logprobs", "from 0 to 20"},
      {kComplete, Complete(R"("echo": 1)"), 400, "echo", "true or false"},
      {kComplete, R"({"prompt": []})", 400, "prompt", "none empty"},
      {kComplete, R"({"prompt": {"a": 1}})", 400, "prompt", "string"},
      {kComplete, R"({"prompt": ["a", []]})", 400, "prompt", "none empty"},
      {kComplete, R"({"prompt": [1, "a"]})", 400, "prompt", "token id"},
      {kComplete, R"({"prompt": [1, -1]})", 400, "prompt", "token id"},
      {kComplete, R"({"prompt": [32000]})", 400, "prompt", "31999"},
      {kComplete, R"({"prompt": ["a", "b"], "n": 100})", 400, "n", "200 choices"},
      {kComplete, Complete(R"("max_tokens": 1000)"), 400, "max_tokens", "1000"},
  };
}

void Check(HttpClient& client, const BadRequest& bad) {
  SCOPED_TRACE(bad.body.substr(0, 120));
  const ClientReply reply = client.PostText(bad.path, bad.body);
  EXPECT_EQ(reply.status, bad.status);
  EXPECT_EQ(reply.headers.at("content-type"), "application/json; charset=utf-8");
  const json error = reply.json()["error"];
  EXPECT_THAT(error["message"].get<std::string>(), testing::HasSubstr(bad.message));
  EXPECT_EQ(error["type"], "invalid_request_error");
  EXPECT_EQ(error["param"], bad.param.empty() ? json(nullptr) : json(bad.param));
  EXPECT_TRUE(error.contains("code"));
}

TEST(BadRequest, BodiesAreRefusedByName) {
  TestServer server;
  HttpClient client(server.port());
  for (const BadRequest& bad : BodyCases()) Check(client, bad);
  EXPECT_EQ(server.engine.submitted().size(), 0);
}

TEST(BadRequest, ParametersAreRefusedByName) {
  TestServer server;
  HttpClient client(server.port());
  for (const BadRequest& bad : ParameterCases()) Check(client, bad);
  EXPECT_EQ(server.engine.submitted().size(), 0);
}

TEST(BadRequest, TooManyValuesAreRefused) {
  TestServer server;
  HttpClient client(server.port());
  const ClientReply reply = client.PostText(kComplete, absl::StrCat("{\"prompt\": [1", Repeat(",1", 2'100'000), "]}"));
  EXPECT_EQ(reply.status, 400);
  EXPECT_THAT(reply.body, testing::HasSubstr("more than 2000000 values"));
}

// Never cut, in a stream neither, and both numbers are named.
TEST(BadRequest, PromptBeyondTheContext) {
  TestServer server({.context_tokens = 100});
  HttpClient client(server.port());
  for (const bool stream : {false, true}) {
    const ClientReply reply =
        client.Post(kComplete, {{"prompt", std::vector<int>(150, 5)}, {"max_tokens", 1}, {"stream", stream}});
    EXPECT_EQ(reply.status, 400);
    const json error = reply.json()["error"];
    EXPECT_EQ(error["code"], "context_length_exceeded");
    EXPECT_EQ(error["param"], "prompt");
    EXPECT_THAT(error["message"].get<std::string>(),
                testing::AllOf(testing::HasSubstr("150"), testing::HasSubstr("100")));
  }
  const ClientReply chat =
      client.Post(kChat, {{"messages", {{{"role", "user"}, {"content", Repeat("river ", 500)}}}}, {"stream", true}});
  EXPECT_EQ(chat.status, 400);
  EXPECT_EQ(chat.json()["error"]["param"], "messages");
  EXPECT_EQ(client.Post(kComplete, {{"prompt", std::vector<int>(99, 5)}, {"max_tokens", 1}}).status, 200);
  EXPECT_EQ(client.Post(kComplete, {{"prompt", std::vector<int>(99, 5)}}).json()["usage"]["completion_tokens"], 1);
}

TEST(BadRequest, PathsAndMethods) {
  TestServer server;
  HttpClient client(server.port());
  EXPECT_EQ(client.PostText("/v1/nothing", "{}").status, 404);
  EXPECT_EQ(client.Get("/").status, 404);
  const ClientReply wrong = client.Get(kChat);
  EXPECT_EQ(wrong.status, 405);
  EXPECT_EQ(wrong.headers.at("allow"), "POST");
  EXPECT_EQ(wrong.json()["error"]["type"], "invalid_request_error");
  const ClientReply post = client.PostText("/v1/models", "{}");
  EXPECT_EQ(post.status, 405);
  EXPECT_EQ(post.headers.at("allow"), "GET, HEAD");
}

TEST(BadRequest, BusyAndNotReadySayWhenToComeBack) {
  TestServer server({.queue_max = 2, .manual = true});
  HttpClient client(server.port());
  const ClientReply busy = client.Post(kComplete, {{"prompt", "x"}, {"n", 3}, {"stream", true}});
  EXPECT_EQ(busy.status, 503);
  EXPECT_GE(std::stoi(busy.headers.at("retry-after")), 1);
  EXPECT_EQ(busy.json()["error"]["code"], "queue_full");
  EXPECT_EQ(server.engine.cancelled(), 2);  // The two that had been accepted.
  server.engine.SetReady(false, "waiting for 1 of 2 workers");
  const ClientReply loading = client.Post(kComplete, {{"prompt", "x"}});
  EXPECT_EQ(loading.status, 503);
  EXPECT_GE(std::stoi(loading.headers.at("retry-after")), 1);
  EXPECT_THAT(loading.body, testing::HasSubstr("waiting for 1 of 2 workers"));
}

TEST(BadRequest, AContextThatIsNotKnownYetIsNotReady) {
  TestServer server({.context_tokens = 0});
  server.engine.SetReady(false, "loading 41 %");
  HttpClient client(server.port());
  const ClientReply reply = client.Post(kComplete, {{"prompt", "x"}});
  EXPECT_EQ(reply.status, 503);
  EXPECT_THAT(reply.body, testing::HasSubstr("loading 41 %"));
  EXPECT_EQ(reply.headers.count("retry-after"), 1);
}

TEST(BadRequest, AnErrorBeforeTheFirstTokenIsAPlainReply) {
  TestServer server({.fail_after = 0});
  HttpClient client(server.port());
  for (const bool stream : {false, true}) {
    const ClientReply reply = client.Post(kComplete, {{"prompt", "x"}, {"stream", stream}});
    EXPECT_EQ(reply.status, 503);
    EXPECT_THAT(reply.json()["error"]["message"].get<std::string>(), testing::HasSubstr("worker 1 is gone"));
  }
}

TEST(BadRequest, AnErrorInAStreamIsItsLastEvent) {
  TestServer server({.step = absl::Milliseconds(20), .fail_after = 3});
  HttpClient client(server.port());
  const ClientReply reply = client.Post(kComplete, {{"prompt", "x"}, {"stream", true}});
  EXPECT_EQ(reply.status, 200);
  const json last = json::parse(reply.events().back());
  EXPECT_THAT(last["error"]["message"].get<std::string>(), testing::HasSubstr("worker 1 is gone"));
  EXPECT_EQ(last["error"]["type"], "server_error");
  EXPECT_EQ(client.Get("/health").status, 200);  // The connection goes on.
}

}  // namespace
}  // namespace barn
