// Embeddings and reranking over HTTP: shapes, limits, errors, and many inputs through a short queue.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "tests/coordinator/http/test_server.h"

namespace barn {
namespace {

using nlohmann::json;
using testing::HasSubstr;

std::vector<int32_t> WithBegin(const std::string& text) {
  std::vector<int32_t> ids = Ids(text);
  ids.insert(ids.begin(), TestTokenizer().vocabulary().bos);
  return ids;
}

std::vector<double> Unit(std::vector<float> values, size_t dimensions = kFakeEmbeddingWidth) {
  values.resize(dimensions);
  double squares = 0;
  for (const float value : values) squares += double{value} * value;
  std::vector<double> unit;
  for (const float value : values) unit.push_back(value / std::sqrt(squares));
  return unit;
}

void ExpectNear(const json& got, const std::vector<double>& want) {
  ASSERT_EQ(got.size(), want.size()) << got;
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i].get<double>(), want[i], 1e-6) << i;
}

TEST(Embeddings, OneTextSeveralTextsAndTokenIds) {
  TestServer server;
  HttpClient client(server.port());
  const json one = client.Post("/v1/embeddings", {{"model", kTestModel}, {"input", "A small cat"}}).json();
  EXPECT_EQ(one["object"], "list");
  EXPECT_EQ(one["model"], kTestModel);
  EXPECT_EQ(one["usage"]["prompt_tokens"], WithBegin("A small cat").size());
  ExpectNear(one["data"][0]["embedding"], Unit(FakeEmbedding(WithBegin("A small cat"), Pooling::kMean)));
  const json two = client.Post("/v1/embeddings", {{"input", {"A small cat", "Ships"}}}).json();
  EXPECT_EQ(two["data"].size(), 2u);
  EXPECT_EQ(two["data"][1]["index"], 1);
  EXPECT_EQ(two["data"][0]["embedding"], one["data"][0]["embedding"]);
  ExpectNear(two["data"][1]["embedding"], Unit(FakeEmbedding(WithBegin("Ships"), Pooling::kMean)));
  const json ids = client.Post("/v1/embeddings", {{"input", {5, 6, 7}}}).json();
  ExpectNear(ids["data"][0]["embedding"], Unit(FakeEmbedding({5, 6, 7}, Pooling::kMean)));
  const json lists = client.Post("/v1/embeddings", {{"input", {{5, 6, 7}, {9}}}}).json();
  EXPECT_EQ(lists["data"][0], ids["data"][0]);
  EXPECT_EQ(lists["usage"]["total_tokens"], 4);
}

TEST(Embeddings, UsersTextsNeverBecomeControlTokens) {
  TestServer server;
  HttpClient client(server.port());
  client.Post("/v1/embeddings", {{"input", "</s>"}});
  EXPECT_GT(server.engine.submitted().back().prompt.size(), 2u);
}

TEST(Embeddings, FormatsDimensionsAndPooling) {
  TestServer server;
  HttpClient client(server.port());
  const std::vector<float> vector = FakeEmbedding(WithBegin("x y"), Pooling::kMean);
  const json packed = client.Post("/v1/embeddings", {{"input", "x y"}, {"encoding_format", "base64"}}).json();
  std::string bytes;
  ASSERT_TRUE(absl::Base64Unescape(packed["data"][0]["embedding"].get<std::string>(), &bytes));
  std::vector<float> unpacked(bytes.size() / 4);
  std::memcpy(unpacked.data(), bytes.data(), bytes.size());
  ExpectNear(json(unpacked), Unit(vector));
  const json short_one = client.Post("/v1/embeddings", {{"input", "x y"}, {"dimensions", 3}}).json();
  ExpectNear(short_one["data"][0]["embedding"], Unit(vector, 3));
  const json last = client.Post("/v1/embeddings", {{"input", "x y"}, {"pooling", "last"}}).json();
  ExpectNear(last["data"][0]["embedding"], Unit(FakeEmbedding(WithBegin("x y"), Pooling::kLast)));
}

TEST(Embeddings, ErrorsNameTheFieldAndTheNumbers) {
  TestServer server({.context_tokens = 64});
  HttpClient client(server.port());
  const auto message = [&](const json& body, int status = 400) {
    const ClientReply reply = client.Post("/v1/embeddings", body);
    EXPECT_EQ(reply.status, status) << reply.body;
    return reply.json()["error"]["message"].get<std::string>();
  };
  EXPECT_THAT(message(json::object()), HasSubstr("'input'"));
  EXPECT_THAT(message({{"input", ""}}), HasSubstr("empty text"));
  EXPECT_THAT(message({{"input", json::array()}}), HasSubstr("empty list"));
  EXPECT_THAT(message({{"input", {"a", ""}}}), HasSubstr("empty text"));
  EXPECT_THAT(message({{"input", {json::array()}}}), HasSubstr("without tokens"));
  EXPECT_THAT(message({{"input", {1, "a"}}}), HasSubstr("a list of strings"));
  EXPECT_THAT(message({{"input", {1, -1}}}), HasSubstr("a list of strings"));
  EXPECT_THAT(message({{"input", {32000}}}), HasSubstr("32000"));
  EXPECT_THAT(message({{"input", 3}}), HasSubstr("must be a string"));
  EXPECT_THAT(message({{"input", std::vector<std::string>(2049, "a")}}), HasSubstr("2049 entries, at most 2048"));
  EXPECT_THAT(message({{"input", "a"}, {"dimensions", 9}}), HasSubstr("the model's vectors have 8"));
  EXPECT_THAT(message({{"input", "a"}, {"dimensions", 0}}), HasSubstr("dimensions"));
  EXPECT_THAT(message({{"input", "a"}, {"encoding_format", "hex"}}), HasSubstr("encoding_format"));
  EXPECT_THAT(message({{"input", "a"}, {"pooling", "max"}}), HasSubstr("pooling"));
  EXPECT_THAT(message({{"input", "a"}, {"model", "other"}}, 404), HasSubstr("other"));
  const std::string long_text = absl::StrCat("a", std::string(100, '1'));
  EXPECT_THAT(message({{"input", long_text}}), HasSubstr("the context holds 64"));
  const json cut = client.Post("/v1/embeddings", {{"input", long_text}, {"truncate", true}}).json();
  EXPECT_EQ(cut["usage"]["prompt_tokens"], 64);
  EXPECT_EQ(server.engine.submitted().size(), 1u);
}

TEST(Embeddings, ManyInputsPassAShortQueue) {
  TestServer server({.queue_max = 20});
  HttpClient client(server.port());
  std::vector<std::string> inputs;
  for (int i = 0; i < 300; ++i) inputs.push_back(absl::StrCat("text ", i));
  const ClientReply reply = client.Post("/v1/embeddings", {{"input", inputs}});
  ASSERT_EQ(reply.status, 200) << reply.body;
  const json body = reply.json();
  ASSERT_EQ(body["data"].size(), inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    ExpectNear(body["data"][i]["embedding"], Unit(FakeEmbedding(WithBegin(inputs[i]), Pooling::kMean)));
  }
}

TEST(Embeddings, AWorkerThatIsLostIsAnError) {
  TestServer server({.fail_after = 0});
  HttpClient client(server.port());
  EXPECT_EQ(client.Post("/v1/embeddings", {{"input", {"a", "b"}}}).status, 503);
  EXPECT_TRUE(Eventually([&] { return server.engine.active() == 0; }));
}

TEST(Embeddings, OllamasPaths) {
  TestServer server({.context_tokens = 64});
  HttpClient client(server.port());
  const json two =
      client.Post("/api/embed", {{"model", kTestModel}, {"input", {"x", "y"}}, {"keep_alive", "5m"}}).json();
  ExpectNear(two["embeddings"][1], Unit(FakeEmbedding(WithBegin("y"), Pooling::kMean)));
  EXPECT_EQ(two["prompt_eval_count"], WithBegin("x").size() + WithBegin("y").size());
  const json one =
      client.Post("/api/embed", {{"model", "fake-model:latest"}, {"input", "x"}, {"dimensions", 4}}).json();
  EXPECT_EQ(one["embeddings"].size(), 1u);
  EXPECT_EQ(one["embeddings"][0].size(), 4u);
  EXPECT_EQ(client.Post("/api/embed", {{"model", kTestModel}}).json()["embeddings"], json::array());
  // Long texts are cut unless that is refused.
  const std::string long_text(100, '1');
  EXPECT_EQ(client.Post("/api/embed", {{"model", kTestModel}, {"input", long_text}}).json()["prompt_eval_count"], 64);
  const ClientReply refused =
      client.Post("/api/embed", {{"model", kTestModel}, {"input", long_text}, {"truncate", false}});
  EXPECT_EQ(refused.status, 400);
  EXPECT_THAT(refused.json()["error"].get<std::string>(), HasSubstr("the context holds 64"));
  EXPECT_EQ(client.Post("/api/embed", {{"model", "no-such"}, {"input", "x"}}).status, 404);
  EXPECT_EQ(client.Post("/api/embed", {{"model", kTestModel}, {"input", 3}}).status, 400);
  // The older path gives the vector as it is.
  const json old = client.Post("/api/embeddings", {{"model", kTestModel}, {"prompt", "x"}}).json();
  const std::vector<float> raw = FakeEmbedding(WithBegin("x"), Pooling::kMean);
  ExpectNear(old["embedding"], {raw.begin(), raw.end()});
}

TEST(Rerank, TheBestComeFirst) {
  TestServer server;
  HttpClient client(server.port());
  const std::vector<std::string> documents = {"one", "two", "three", "four"};
  const auto score = [&](size_t i) {
    std::vector<int32_t> pair = WithBegin("which?");
    const std::vector<int32_t> second = Ids(documents[i]);
    pair.insert(pair.end(), second.begin(), second.end());
    return 1 / (1 + std::exp(-double{FakeEmbedding(pair, Pooling::kScore)[0]}));
  };
  for (const char* path : {"/v1/rerank", "/rerank"}) {
    const json all = client.Post(path, {{"query", "which?"}, {"documents", documents}}).json();
    ASSERT_EQ(all["results"].size(), 4u) << all;
    double before = 1;
    for (const json& result : all["results"]) {
      EXPECT_NEAR(result["relevance_score"].get<double>(), score(result["index"]), 1e-9);
      EXPECT_LE(result["relevance_score"], before);
      before = result["relevance_score"];
      EXPECT_FALSE(result.contains("document"));
    }
    EXPECT_GT(all["usage"]["total_tokens"], 8);
  }
  const json objects = json::array({{{"text", "one"}}, {{"text", "two"}}});
  const json best =
      client.Post("/v1/rerank", {{"query", "which?"}, {"documents", objects}, {"top_n", 1}, {"return_documents", true}})
          .json();
  ASSERT_EQ(best["results"].size(), 1u);
  EXPECT_EQ(best["results"][0]["document"]["text"], documents[best["results"][0]["index"].get<size_t>()]);
}

TEST(Rerank, ErrorsNameTheField) {
  TestServer server;
  HttpClient client(server.port());
  const auto param = [&](const json& body) {
    const ClientReply reply = client.Post("/v1/rerank", body);
    EXPECT_EQ(reply.status, 400) << reply.body;
    return reply.json()["error"]["param"].get<std::string>();
  };
  EXPECT_EQ(param({{"documents", {"a"}}}), "query");
  EXPECT_EQ(param({{"query", "a"}}), "documents");
  EXPECT_EQ(param({{"query", "a"}, {"documents", json::array()}}), "documents");
  EXPECT_EQ(param({{"query", "a"}, {"documents", {1}}}), "documents");
  EXPECT_EQ(param({{"query", "a"}, {"documents", {{{"title", "x"}}}}}), "documents");
  EXPECT_EQ(param({{"query", "a"}, {"documents", {"a"}}, {"top_n", 0}}), "top_n");
}

// What the model cannot do is said in the dialect of the path.
TEST(Encoders, GenerateNothing) {
  TestServer server({}, HttpOptions(),
                    {.id = "encoder",
                     .tokenizer = TestTokenizer(),
                     .facts = {.embedding = {.encoder = true, .width = kFakeEmbeddingWidth}}});
  HttpClient client(server.port());
  const json messages = json::array({{{"role", "user"}, {"content", "x"}}});
  const json chat = {{"model", "encoder"}, {"messages", messages}, {"max_tokens", 4}};
  for (const auto& [path, body] :
       std::vector<std::pair<std::string, json>>{{"/v1/completions", {{"prompt", "x"}}},
                                                 {"/v1/chat/completions", chat},
                                                 {"/v1/messages", chat},
                                                 {"/v1/responses", {{"input", "x"}}},
                                                 {"/api/chat", chat},
                                                 {"/api/generate", {{"model", "encoder"}, {"prompt", "x"}}}}) {
    const ClientReply reply = client.Post(path, body);
    EXPECT_EQ(reply.status, 400) << path << reply.body;
    EXPECT_THAT(reply.body, HasSubstr("generates no text")) << path;
  }
  const ClientReply rerank = client.Post("/v1/rerank", {{"query", "a"}, {"documents", {"b"}}});
  EXPECT_EQ(rerank.status, 400);
  EXPECT_THAT(rerank.body, HasSubstr("no reranker"));
  EXPECT_EQ(client.Post("/v1/embeddings", {{"input", "x"}}).status, 200);
  EXPECT_EQ(client.Post("/api/show", {{"model", "encoder"}}).json()["capabilities"], json::array({"embedding"}));
  EXPECT_EQ(client.Get("/v1/models").json()["data"][0]["barn"]["generates"], false);
}

}  // namespace
}  // namespace barn
