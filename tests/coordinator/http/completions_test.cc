#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/coordinator/http/test_server.h"

namespace barn {
namespace {

using nlohmann::json;

std::function<std::vector<int32_t>(const GenerateRequest&)> Says(const std::string& text) {
  return [ids = Ids(text)](const GenerateRequest&) { return ids; };
}

// The texts of all events of one choice, joined.
std::string StreamedText(const ClientReply& reply, int64_t index = 0) {
  std::string text;
  for (const std::string& event : reply.events()) {
    if (event == "[DONE]") continue;
    const json parsed = json::parse(event);
    for (const json& choice : parsed["choices"]) {
      if (choice["index"] == index) text += choice["text"].get<std::string>();
    }
  }
  return text;
}

TEST(Completions, RepeatsWhatTheEngineGenerates) {
  TestServer server({.script = Says("blue and clear today")});
  HttpClient client(server.port());
  const ClientReply reply =
      client.Post("/v1/completions", {{"model", kTestModel}, {"prompt", "The sky is"}, {"max_tokens", 50}});
  ASSERT_EQ(reply.status, 200) << reply.body;
  EXPECT_EQ(reply.headers.at("content-type"), "application/json; charset=utf-8");
  const json body = reply.json();
  EXPECT_EQ(body["object"], "text_completion");
  EXPECT_EQ(body["model"], kTestModel);
  EXPECT_EQ(body["choices"][0]["text"], " blue and clear today");
  EXPECT_EQ(body["choices"][0]["finish_reason"], "stop");
  EXPECT_TRUE(body["choices"][0]["logprobs"].is_null());
  EXPECT_EQ(body["usage"]["prompt_tokens"], 4);  // With the begin token.
  EXPECT_EQ(body["usage"]["completion_tokens"], 4);
  EXPECT_EQ(body["usage"]["total_tokens"], 8);
  EXPECT_EQ(server.engine.submitted()[0].prompt.front(), 1);
}

TEST(Completions, StreamsTheSameText) {
  TestServer server({.script = Says("blue and clear today")});
  HttpClient client(server.port());
  json request = {{"prompt", "The sky is"}, {"max_tokens", 50}, {"stream", true}};
  const ClientReply reply = client.Post("/v1/completions", request);
  ASSERT_EQ(reply.status, 200) << reply.body;
  EXPECT_EQ(reply.headers.at("content-type"), "text/event-stream");
  const std::vector<std::string> events = reply.events();
  EXPECT_EQ(events.back(), "[DONE]");
  EXPECT_EQ(StreamedText(reply), " blue and clear today");
  EXPECT_EQ(json::parse(events[events.size() - 2])["choices"][0]["finish_reason"], "stop");
  EXPECT_FALSE(json::parse(events[0]).contains("usage"));

  request["stream_options"] = {{"include_usage", true}};
  const std::vector<std::string> with_usage = client.Post("/v1/completions", request).events();
  const json last = json::parse(with_usage[with_usage.size() - 2]);
  EXPECT_EQ(last["choices"], json::array());
  EXPECT_EQ(last["usage"]["completion_tokens"], 4);
  EXPECT_TRUE(json::parse(with_usage[0])["usage"].is_null());
}

}  // namespace
}  // namespace barn
