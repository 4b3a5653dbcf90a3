#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/cord.h"
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

TEST(Completions, UsageTellsWhatTheCacheKnew) {
  TestServer server({.script = Says("blue"), .cached_tokens = 3});
  HttpClient client(server.port());
  const json body = client.Post("/v1/completions", {{"prompt", {"The sky is", "The sky was"}}, {"n", 2}}).json();
  EXPECT_EQ(body["usage"]["prompt_tokens_details"]["cached_tokens"], 6) << "of each prompt once, whatever n is";
}

TEST(Completions, ATimeoutIsTheEnginesToKeep) {
  TestServer server({.script = Says("blue")});
  HttpClient client(server.port());
  client.Post("/v1/completions", {{"prompt", "The sky is"}, {"timeout", 2.5}});
  client.Post("/v1/completions", {{"prompt", "The sky is"}});
  EXPECT_EQ(server.engine.submitted()[0].timeout, absl::Seconds(2.5));
  EXPECT_EQ(server.engine.submitted()[1].timeout, absl::InfiniteDuration());
  EXPECT_EQ(client.Post("/v1/completions", {{"prompt", "The sky is"}, {"timeout", 0}}).status, 400);
  TestServer late({.refusal = absl::DeadlineExceededError("the request's 2.5s are over")});
  HttpClient other(late.port());
  const ClientReply reply = other.Post("/v1/completions", {{"prompt", "The sky is"}});
  EXPECT_EQ(reply.status, 504);
  EXPECT_EQ(reply.json()["error"]["code"], "timeout");
}

TEST(Completions, ALongPromptLosesItsOldestTokensWhereThatIsAskedFor) {
  TestServer server({.context_tokens = 20, .script = Says("blue")});
  HttpClient client(server.port());
  json request = {{"prompt", "one two one two one two one two one two one two one two one two red green blue"},
                  {"max_tokens", 12}};
  EXPECT_EQ(client.Post("/v1/completions", request).status, 400);
  request["truncate"] = true;
  const json body = client.Post("/v1/completions", request).json();
  EXPECT_EQ(body["usage"]["prompt_tokens"], 8);
  const std::vector<int32_t> prompt = server.engine.submitted()[0].prompt;
  ASSERT_EQ(prompt.size(), 8u);
  EXPECT_EQ(prompt.front(), 1) << "the begin token";
  const std::vector<int32_t> whole = Ids("two one two one two red green blue");
  EXPECT_TRUE(std::equal(prompt.end() - 5, prompt.end(), whole.end() - 5));
}

TEST(Completions, AFullQueueSaysWhenToComeAgain) {
  absl::Status full = absl::ResourceExhaustedError("2 requests wait");
  full.SetPayload(kRetryAfterPayload, absl::Cord("17"));
  for (const bool own : {false, true}) {
    if (own) full.SetPayload(kTenantLimitPayload, absl::Cord("1"));
    TestServer server({.refusal = full});
    HttpClient client(server.port());
    const ClientReply reply = client.Post("/v1/completions", {{"prompt", "The sky is"}});
    EXPECT_EQ(reply.status, own ? 429 : 503);
    EXPECT_EQ(reply.headers.at("retry-after"), "17");
    EXPECT_EQ(reply.json()["error"]["type"], own ? "rate_limit_error" : "server_error");
  }
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

TEST(Completions, PromptsAndChoicesAreNumberedInOrder) {
  TestServer server;
  HttpClient client(server.port());
  const ClientReply reply = client.Post(
      "/v1/completions",
      {{"prompt", {"one two", "red green blue"}}, {"n", 2}, {"best_of", 2}, {"max_tokens", 3}, {"seed", 5}});
  ASSERT_EQ(reply.status, 200) << reply.body;
  const json body = reply.json();
  ASSERT_EQ(body["choices"].size(), 4);
  for (int64_t i = 0; i < 4; ++i) EXPECT_EQ(body["choices"][i]["index"], i);
  EXPECT_EQ(body["choices"][0]["text"], " one two one");
  EXPECT_EQ(body["choices"][1]["text"], " one two one");
  EXPECT_EQ(body["choices"][3]["text"], " red green blue");
  EXPECT_EQ(body["choices"][3]["finish_reason"], "length");
  EXPECT_EQ(body["usage"]["prompt_tokens"], 3 + 4);  // Each prompt once.
  EXPECT_EQ(body["usage"]["completion_tokens"], 12);
  const std::vector<GenerateRequest> submitted = server.engine.submitted();
  EXPECT_EQ(submitted[0].sampling.seed, 5u);
  EXPECT_EQ(submitted[1].sampling.seed, 6u);
}

TEST(Completions, TokenIdsArePromptsAsTheyAre) {
  TestServer server;
  HttpClient client(server.port());
  const std::vector<int32_t> red = Ids("red"), blue = Ids("blue");
  EXPECT_EQ(client.Post("/v1/completions", {{"prompt", red}, {"max_tokens", 1}}).json()["choices"][0]["text"], " red");
  const json both = client.Post("/v1/completions", {{"prompt", {red, blue}}, {"max_tokens", 1}}).json();
  EXPECT_EQ(both["choices"][1]["text"], " blue");
  EXPECT_EQ(server.engine.submitted()[0].prompt, red);
}

TEST(Completions, PassesEverySettingOn) {
  TestServer server;
  HttpClient client(server.port());
  const json request = {{"prompt", "a"},
                        {"max_tokens", 2},
                        {"temperature", 0.5},
                        {"top_p", 0.25},
                        {"top_k", 7},
                        {"min_p", 0.125},
                        {"repeat_penalty", 1.5},
                        {"presence_penalty", -1},
                        {"frequency_penalty", 2},
                        {"logit_bias", {{"9", -100}}},
                        {"seed", -3},
                        {"ignore_eos", true},
                        {"user", "someone"}};
  ASSERT_EQ(client.Post("/v1/completions", request).status, 200);
  const GenerateRequest got = server.engine.submitted()[0];
  EXPECT_EQ(got.max_tokens, 2);
  EXPECT_EQ(got.sampling.temperature, 0.5f);
  EXPECT_EQ(got.sampling.top_p, 0.25f);
  EXPECT_EQ(got.sampling.top_k, 7);
  EXPECT_EQ(got.sampling.min_p, 0.125f);
  EXPECT_EQ(got.sampling.repetition_penalty, 1.5f);
  EXPECT_EQ(got.sampling.presence_penalty, -1.0f);
  EXPECT_EQ(got.sampling.frequency_penalty, 2.0f);
  EXPECT_EQ(got.sampling.logit_bias, (std::vector<std::pair<int32_t, float>>{{9, -100.0f}}));
  EXPECT_EQ(got.sampling.seed, static_cast<uint64_t>(-3));
  EXPECT_TRUE(got.ignore_end);
}

TEST(Completions, PassesTheSamplersOfLlamaServerOn) {
  TestServer server;
  HttpClient client(server.port());
  const json request = {{"prompt", "a"},
                        {"max_tokens", 2},
                        {"typical_p", 0.9},
                        {"top_n_sigma", 1.5},
                        {"xtc_probability", 0.5},
                        {"xtc_threshold", 0.2},
                        {"dynatemp_range", 0.25},
                        {"dynatemp_exponent", 2},
                        {"mirostat", 2},
                        {"mirostat_tau", 4},
                        {"mirostat_eta", 0.2},
                        {"repeat_last_n", 64},
                        {"dry_multiplier", 0.8},
                        {"dry_base", 2},
                        {"dry_allowed_length", 3},
                        {"dry_penalty_last_n", 100},
                        {"dry_sequence_breakers", {"\n", "#"}},
                        {"banned_strings", {"Foo"}},
                        {"samplers", {"top_k", "temperature"}}};
  ASSERT_EQ(client.Post("/v1/completions", request).status, 200);
  const SamplingParams got = server.engine.submitted()[0].sampling;
  EXPECT_EQ(got.typical_p, 0.9);
  EXPECT_EQ(got.top_n_sigma, 1.5);
  EXPECT_EQ(got.xtc_probability, 0.5);
  EXPECT_EQ(got.xtc_threshold, 0.2);
  EXPECT_EQ(got.dynatemp_range, 0.25);
  EXPECT_EQ(got.dynatemp_exponent, 2);
  EXPECT_EQ(got.mirostat, 2);
  EXPECT_EQ(got.mirostat_tau, 4);
  EXPECT_EQ(got.mirostat_eta, 0.2);
  EXPECT_EQ(got.repeat_last_n, 64);
  EXPECT_EQ(got.dry_multiplier, 0.8);
  EXPECT_EQ(got.dry_base, 2);
  EXPECT_EQ(got.dry_allowed_length, 3);
  EXPECT_EQ(got.dry_penalty_last_n, 100);
  EXPECT_EQ(got.dry_sequence_breakers, (std::vector<std::string>{"\n", "#"}));
  EXPECT_EQ(got.banned_strings, (std::vector<std::string>{"Foo"}));
  EXPECT_EQ(got.samplers, (std::vector<SamplerKind>{SamplerKind::kTopK, SamplerKind::kTemperature}));
  EXPECT_EQ(got.tokenizer, &TestTokenizer());
}

TEST(Completions, DefaultsAreThoseOfTheDialect) {
  TestServer server;
  HttpClient client(server.port());
  const json body = client.Post("/v1/completions", {{"prompt", "a b"}, {"temperature", nullptr}}).json();
  EXPECT_EQ(body["usage"]["completion_tokens"], 16);
  EXPECT_EQ(body["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(server.engine.submitted()[0].sampling.temperature, 1.0f);
}

// A stop string that begins in one token and ends in another, in a stream and in one piece.
TEST(Completions, StopStringsCutAcrossTokens) {
  TestServer server({.script = Says("alpha beta gamma delta epsilon")});
  HttpClient client(server.port());
  json request = {{"prompt", "x"}, {"max_tokens", 100}, {"stop", {"zzz", "mma de"}}, {"logprobs", 0}};
  const json body = client.Post("/v1/completions", request).json();
  EXPECT_EQ(body["choices"][0]["text"], " alpha beta ga");
  EXPECT_EQ(body["choices"][0]["finish_reason"], "stop");
  // No token that begins after the cut is reported.
  std::string joined;
  for (const json& token : body["choices"][0]["logprobs"]["tokens"]) joined += token.get<std::string>();
  EXPECT_THAT(joined, testing::StartsWith(" alpha beta ga"));
  EXPECT_LE(joined.size(), std::string(" alpha beta gamma").size());
  request["stream"] = true;
  EXPECT_EQ(StreamedText(client.Post("/v1/completions", request)), " alpha beta ga");
  request["stop"] = "never seen";
  EXPECT_EQ(StreamedText(client.Post("/v1/completions", request)), " alpha beta gamma delta epsilon");
}

TEST(Completions, AStopStringFreesTheSequence) {
  TestServer server({.manual = true, .script = Says("one two three four five six")});
  HttpClient client(server.port());
  client.Send(PostBytes("/v1/completions", R"({"prompt": "x", "max_tokens": 50, "stop": "two"})"));
  ASSERT_TRUE(Eventually([&] { return server.engine.active() == 1; }));
  server.engine.Step();
  server.engine.Step();
  EXPECT_TRUE(Eventually([&] { return server.engine.cancelled() == 1; }));
  EXPECT_EQ(client.Receive().json()["choices"][0]["text"], " one ");
}

TEST(Completions, LogprobsNameTokensAndOffsets) {
  TestServer server({.script = Says("Gr\u00fc\u00dfe aus Paris")});
  HttpClient client(server.port());
  const json body = client.Post("/v1/completions", {{"prompt", "x"}, {"max_tokens", 100}, {"logprobs", 2}}).json();
  const json& choice = body["choices"][0];
  const std::string text = choice["text"];
  const json& logprobs = choice["logprobs"];
  std::string joined;
  std::vector<int64_t> offsets;
  for (const json& token : logprobs["tokens"]) {
    offsets.push_back(std::count_if(joined.begin(), joined.end(), [](char byte) { return (byte & 0xC0) != 0x80; }));
    joined += token.get<std::string>();
  }
  EXPECT_EQ(joined, text);
  EXPECT_EQ(logprobs["text_offset"], json(offsets));
  EXPECT_EQ(logprobs["token_logprobs"][0], -0.5);
  EXPECT_EQ(logprobs["top_logprobs"][0].size(), 2);
  EXPECT_EQ(logprobs["top_logprobs"][0][logprobs["tokens"][0].get<std::string>()], -0.5);
}

// U+1F600 is four byte tokens in this vocabulary; a client must never see a half of it.
TEST(Completions, CharactersStayWhole) {
  TestServer server({.script = [](const GenerateRequest&) { return std::vector<int32_t>{243, 162, 155, 131, 350}; }});
  HttpClient client(server.port());
  const json request = {{"prompt", "x"}, {"max_tokens", 9}, {"stream", true}, {"logprobs", 1}};
  const ClientReply reply = client.Post("/v1/completions", request);
  EXPECT_EQ(StreamedText(reply).substr(0, 4), "\U0001F600") << reply.body;
  const json first = json::parse(reply.events()[0])["choices"][0];
  EXPECT_EQ(first["text"], "\U0001F600");
  EXPECT_EQ(first["logprobs"]["tokens"][0], "bytes:\\xf0");
  EXPECT_EQ(first["logprobs"]["tokens"].size(), 4);
}

TEST(Completions, EchoComesFirstWithItsScores) {
  TestServer server({.script = Says("blue")});
  HttpClient client(server.port());
  json request = {{"prompt", "The sky is"}, {"max_tokens", 5}, {"echo", true}, {"logprobs", 1}};
  const json choice = client.Post("/v1/completions", request).json()["choices"][0];
  EXPECT_EQ(choice["text"], "The sky is blue");
  const json& logprobs = choice["logprobs"];
  EXPECT_EQ(logprobs["tokens"].size(), 5);
  EXPECT_EQ(logprobs["token_logprobs"], json({nullptr, -1.0, -2.0, -3.0, -0.5}));
  EXPECT_TRUE(logprobs["top_logprobs"][0].is_null());
  EXPECT_EQ(logprobs["text_offset"], json({0, 0, 3, 7, 10}));
  EXPECT_EQ(server.engine.submitted()[0].score_from, 0);

  request["stream"] = true;
  EXPECT_EQ(StreamedText(client.Post("/v1/completions", request)), "The sky is blue");
  request = {{"prompt", "The sky is"}, {"max_tokens", 0}, {"echo", true}};
  const json scored = client.Post("/v1/completions", request).json();
  EXPECT_EQ(scored["choices"][0]["text"], "The sky is");
  EXPECT_EQ(scored["usage"]["completion_tokens"], 0);
}

TEST(Completions, TheEndTokenIsNoText) {
  TestServer server({.script = [](const GenerateRequest&) {
    std::vector<int32_t> ids = Ids("done");
    ids.push_back(TestTokenizer().vocabulary().eos);
    return ids;
  }});
  HttpClient client(server.port());
  const json body = client.Post("/v1/completions", {{"prompt", "x"}, {"max_tokens", 9}, {"logprobs", 0}}).json();
  EXPECT_EQ(body["choices"][0]["text"], " done");
  EXPECT_EQ(body["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(body["choices"][0]["logprobs"]["tokens"].size(), 1);
}

}  // namespace
}  // namespace barn
