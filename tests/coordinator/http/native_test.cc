// llama-server's own routes: /completion and /infill.

#include <gtest/gtest.h>

#include "coordinator/text/byte_alphabet.h"
#include "tests/coordinator/http/test_server.h"

namespace barn {
namespace {

using nlohmann::json;

std::function<std::vector<int32_t>(const GenerateRequest&)> Says(const std::string& text) {
  return [ids = Ids(text)](const GenerateRequest&) { return ids; };
}

TEST(NativeCompletion, OneObject) {
  TestServer server({.script = Says("blue and clear"), .cached_tokens = 3});
  HttpClient client(server.port());
  const ClientReply reply = client.Post("/completion", {{"prompt", "The sky is"}, {"n_predict", 50}, {"n_probs", 2}});
  ASSERT_EQ(reply.status, 200) << reply.body;
  const json body = reply.json();
  EXPECT_EQ(body["content"], " blue and clear");
  EXPECT_EQ(body["tokens"], json(Ids("blue and clear")));
  EXPECT_EQ(body["stop"], true);
  EXPECT_EQ(body["stop_type"], "eos");
  EXPECT_EQ(body["tokens_predicted"], 3);
  EXPECT_EQ(body["tokens_evaluated"], 4);
  EXPECT_EQ(body["timings"]["prompt_n"], 1);
  EXPECT_EQ(body["timings"]["cache_n"], 3);
  EXPECT_EQ(body["timings"]["predicted_n"], 3);
  ASSERT_EQ(body["completion_probabilities"].size(), 3);
  EXPECT_EQ(body["completion_probabilities"][0]["id"], Ids("blue")[0]);
  EXPECT_EQ(body["completion_probabilities"][0]["top_logprobs"].size(), 2);
  const GenerateRequest asked = server.engine.submitted()[0];
  EXPECT_EQ(asked.sampling.temperature, 0.8) << "what llama-server's clients expect";
  EXPECT_EQ(asked.sampling.top_k, 40);
}

TEST(NativeCompletion, Events) {
  TestServer server({.script = Says("blue and clear")});
  HttpClient client(server.port());
  const json asked = {{"prompt", Ids("The sky is")}, {"stream", true}, {"n_predict", 2}, {"temperature", 0}};
  const ClientReply reply = client.Post("/completion", asked);
  std::string text;
  json last;
  for (const std::string& event : reply.events()) {
    last = json::parse(event);
    text += last["content"].get<std::string>();
  }
  EXPECT_EQ(text, " blue and");
  EXPECT_EQ(last["stop"], true);
  EXPECT_EQ(last["stop_type"], "limit");
  EXPECT_EQ(last["tokens_predicted"], 2);
}

TEST(NativeCompletion, StopWordsAndSchemas) {
  TestServer server({.script = Says("blue and clear")});
  HttpClient client(server.port());
  const json body = client.Post("/completion", {{"prompt", "x"}, {"stop", {" and"}}}).json();
  EXPECT_EQ(body["content"], " blue");
  EXPECT_EQ(body["stop_type"], "word");
  EXPECT_EQ(body["stopping_word"], " and");
  client.Post("/completion", {{"prompt", "x"}, {"json_schema", {{"type", "integer"}}}});
  EXPECT_TRUE(static_cast<bool>(server.engine.submitted().back().constraint));
}

TEST(NativeCompletion, ErrorsNameTheField) {
  TestServer server;
  HttpClient client(server.port());
  const auto param = [&](const char* path, const json& body) {
    const ClientReply reply = client.Post(path, body);
    EXPECT_EQ(reply.status, 400) << reply.body;
    return reply.json()["error"]["param"].dump();
  };
  EXPECT_EQ(param("/completion", json::object()), "\"prompt\"");
  EXPECT_EQ(param("/completion", {{"prompt", {-1}}}), "\"prompt\"");
  EXPECT_EQ(param("/completion", {{"prompt", {32000}}}), "\"prompt\"");
  EXPECT_EQ(param("/completion", {{"prompt", "x"}, {"n_predict", "many"}}), "\"n_predict\"");
  EXPECT_EQ(param("/completion", {{"prompt", "x"}, {"n_predict", 1000}}), "\"max_tokens\"");
  EXPECT_EQ(param("/completion", {{"prompt", "x"}, {"json_schema", 3}}), "\"json_schema\"");
  EXPECT_EQ(param("/completion", {{"prompt", "x"}, {"t_max_predict_ms", 5}}), "\"t_max_predict_ms\"");
  EXPECT_EQ(param("/infill", {{"input_prefix", "x"}}), "\"input_suffix\"");
  EXPECT_EQ(param("/infill", {{"input_prefix", "x"}, {"input_suffix", ""}, {"input_extra", {1}}}),
            "\"input_extra[0]\"");
  EXPECT_EQ(param("/infill", {{"input_prefix", "x"}, {"input_suffix", "y"}}), "\"input_prefix\"") << "no marks";
}

TEST(NativeInfill, FillsTheGap) {
  Vocabulary v;
  v.model = "gpt2";
  v.pre = "gpt-2";
  for (int byte = 0; byte < 256; ++byte) v.tokens.push_back(ByteToAlphabet(static_cast<uint8_t>(byte)));
  for (const char* mark : {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"}) v.tokens.push_back(mark);
  v.types.resize(256, TokenType::kNormal);
  v.types.resize(v.tokens.size(), TokenType::kControl);
  v.id_count = std::ssize(v.tokens);
  const auto tokenizer = *Tokenizer::Create(std::move(v));
  TestServer server({.script =
                         [](const GenerateRequest&) {
                           return std::vector<int32_t>{'+', '1'};
                         }},
                    {}, {.id = "coder", .tokenizer = *tokenizer});
  HttpClient client(server.port());
  const json asked = {{"input_prefix", "a"}, {"input_suffix", ";"}, {"prompt", " "}, {"n_predict", 2}};
  const ClientReply reply = client.Post("/infill", asked);
  ASSERT_EQ(reply.status, 200) << reply.body;
  EXPECT_EQ(reply.json()["content"], "+1");
  EXPECT_EQ(server.engine.submitted()[0].prompt, (std::vector<int32_t>{256, 'a', 257, ';', 258, ' '}));
  const json same = client.Post("/v1/completions", {{"prompt", "a"}, {"suffix", ";"}, {"max_tokens", 2}}).json();
  EXPECT_EQ(same["choices"][0]["text"], "+1");
  EXPECT_EQ(server.engine.submitted()[1].prompt, (std::vector<int32_t>{256, 'a', 257, ';', 258}));
  json ollama = {{"model", "coder"}, {"prompt", "a"}, {"suffix", ";"}, {"stream", false}};
  EXPECT_EQ(client.Post("/api/generate", ollama).json()["response"], "+1");
  EXPECT_EQ(server.engine.submitted()[2].prompt, (std::vector<int32_t>{256, 'a', 257, ';', 258}));
  EXPECT_EQ(client.Post("/api/show", {{"model", "coder"}}).json()["capabilities"],
            json::array({"completion", "insert"}));
  ollama["raw"] = true;
  EXPECT_EQ(client.Post("/api/generate", ollama).status, 400);
}

}  // namespace
}  // namespace barn
