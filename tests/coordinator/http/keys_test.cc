// Keys, limits, request ids and origins, as clients of the server meet them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "coordinator/accounts/access_gate.h"
#include "tests/coordinator/accounts/temporary_folder.h"
#include "tests/coordinator/http/test_server.h"

namespace barn {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

const char kBody[] = R"({"prompt": "one two", "max_tokens": 4})";

class KeysTest : public ::testing::Test {
 protected:
  std::string Create(const std::string& name, Role role, const KeyLimits& limits = {}) {
    return *store_->Create(name, role, limits, "t", absl::Now());
  }
  void Start() {
    gate_ = *AccessGate::Create(*KeyStore::Open(folder_.File("keys.db")), absl::Now(), absl::ZeroDuration());
    HttpOptions options;
    options.gate = gate_.get();
    options.cors_origins = {"https://chat.example.org"};
    server_ = std::make_unique<TestServer>(FakeEngine::Options(), options);
    client_ = std::make_unique<HttpClient>(server_->port());
  }
  ClientReply Send(const std::string& method, const std::string& path, const std::string& headers,
                   const std::string& body = "") {
    client_->Send(absl::StrCat(method, " ", path, " HTTP/1.1\r\nHost: x\r\n", headers, "Content-Length: ", body.size(),
                               "\r\n\r\n", body));
    return client_->Receive();
  }
  ClientReply Complete(const std::string& secret, const std::string& body = kBody) {
    return Send("POST", "/v1/completions", absl::StrCat("Authorization: Bearer ", secret, "\r\n"), body);
  }
  ClientReply Get(const std::string& path, const std::string& secret) {
    return Send("GET", path, absl::StrCat("x-api-key: ", secret, "\r\n"));
  }

  const TemporaryFolder folder_;
  std::unique_ptr<KeyStore> store_ = *KeyStore::Open(folder_.File("keys.db"));
  std::unique_ptr<AccessGate> gate_;
  std::unique_ptr<TestServer> server_;
  std::unique_ptr<HttpClient> client_;
};

TEST_F(KeysTest, OpenOnlyForHealth) {
  Start();
  for (const char* path : {"/health", "/ready"}) EXPECT_EQ(Send("GET", path, "").status, 200) << path;
  for (const char* path : {"/metrics", "/v1/models", "/v1/models/x", "/v1/usage", "/some/stranger"}) {
    EXPECT_EQ(Send("GET", path, "").status, 401) << path;
  }
  const ClientReply reply = Send("POST", "/v1/completions", "", kBody);
  EXPECT_EQ(reply.status, 401);
  EXPECT_EQ(reply.headers.at("www-authenticate"), "Bearer");
  EXPECT_EQ(reply.json()["error"]["code"], "invalid_api_key");
  EXPECT_EQ(Complete("barn-nobody").status, 401);
  EXPECT_TRUE(server_->engine.submitted().empty());
}

TEST_F(KeysTest, WhoseKeyItIsDecides) {
  const KeyLimits limits{.priority = 2, .weight = 5};
  const std::string user = Create("ana", Role::kUser, limits), metrics = Create("probe", Role::kMetrics);
  Start();
  EXPECT_EQ(Complete(user).status, 200);
  EXPECT_EQ(Get("/v1/models", user).status, 200);
  EXPECT_EQ(Get("/metrics", user).status, 403);
  EXPECT_EQ(Get("/metrics", metrics).status, 200);
  const ClientReply refused = Complete(metrics);
  EXPECT_EQ(refused.status, 403);
  EXPECT_EQ(refused.json()["error"]["type"], "permission_error");
  const Tenant tenant = server_->engine.submitted().at(0).tenant;
  EXPECT_EQ(tenant.name, "ana");
  EXPECT_EQ(tenant.weight, 5);
  EXPECT_EQ(tenant.priority, 2);
}

TEST_F(KeysTest, OverTheRateIs429) {
  const std::string secret = Create("ana", Role::kUser, {.rate = *ReadRate("2/min")});
  Start();
  EXPECT_EQ(Complete(secret).status, 200);
  EXPECT_EQ(Complete(secret, R"({"prompt": 3})").status, 400) << "a request that is wrong is a request";
  const ClientReply reply = Complete(secret);
  EXPECT_EQ(reply.status, 429);
  EXPECT_THAT(reply.headers.at("retry-after"), MatchesRegex("[123]?[0-9]"));
  EXPECT_EQ(reply.json()["error"]["code"], "rate_limit_exceeded");
  EXPECT_THAT(reply.json()["error"]["message"].get<std::string>(), HasSubstr("'ana' may make 2/min requests"));
  EXPECT_EQ(Get("/v1/models", secret).status, 200);
}

TEST_F(KeysTest, OverTheQuotaIs429AndTheLedgerSaysWhy) {
  const std::string secret = Create("ana", Role::kUser, {.tokens_per_day = 10}), boss = Create("boss", Role::kAdmin);
  Start();
  const json usage = Complete(secret, R"({"prompt": "one two", "max_tokens": 4, "n": 2})").json()["usage"];
  ASSERT_EQ(usage["completion_tokens"], 8);
  const int64_t prompt = usage["prompt_tokens"].get<int64_t>();
  ASSERT_GE(prompt + 8, 10);
  ASSERT_TRUE(Eventually([&] { return gate_->Totals()[0].generated_tokens == 8; }));
  const ClientReply reply = Complete(secret);
  EXPECT_EQ(reply.status, 429);
  EXPECT_EQ(reply.json()["error"]["code"], "insufficient_quota");
  EXPECT_GT(std::stoi(reply.headers.at("retry-after")), 0);
  const json own = Get("/v1/usage", secret).json();
  ASSERT_EQ(own["data"].size(), 1u);
  EXPECT_EQ(own["data"][0]["key"], "ana");
  EXPECT_EQ(own["data"][0]["model"], kTestModel);
  EXPECT_EQ(own["data"][0]["prompt_tokens"], prompt) << "two choices share it";
  EXPECT_EQ(own["data"][0]["generated_tokens"], 8);
  EXPECT_EQ(own["data"][0]["requests"], 1);
  EXPECT_EQ(Get("/v1/usage", boss).json()["data"].size(), 1u);
  EXPECT_THAT(Get("/metrics", boss).body, HasSubstr("barn_key_tokens_total{key=\"ana\",kind=\"generated\"} 8\n"));
}

TEST_F(KeysTest, AStreamThatIsLeftIsChargedForWhatWasMade) {
  const std::string secret = Create("ana", Role::kUser);
  Start();
  HttpClient leaver(server_->port());
  leaver.Send(PostBytes("/v1/completions", R"({"prompt": "one two", "max_tokens": 100, "stream": true})",
                        absl::StrCat("Authorization: Bearer ", secret, "\r\n")));
  EXPECT_NE(leaver.ReceiveSome(), "");
  leaver.Close();
  EXPECT_TRUE(Eventually([&] { return gate_->Totals()[0].generated_tokens > 0; }));
}

// Who may not ask is not read to the end, but gets the answer all the same.
TEST_F(KeysTest, ALongBodyIsNotReadForStrangers) {
  Start();
  const std::string body(4 << 20, 'x');
  const ClientReply reply = Send("POST", "/v1/completions", "", body);
  EXPECT_EQ(reply.status, 401);
  EXPECT_EQ(reply.headers.at("connection"), "close");
}

TEST_F(KeysTest, RequestsHaveIds) {
  Start();
  const ClientReply own = Send("GET", "/health", "x-request-id: abc-7\r\n");
  EXPECT_EQ(own.headers.at("x-request-id"), "abc-7");
  const ClientReply made = Send("GET", "/health", "");
  EXPECT_THAT(made.headers.at("x-request-id"), MatchesRegex("req-[0-9a-f]{16}"));
  EXPECT_NE(Send("GET", "/health", "").headers.at("x-request-id"), made.headers.at("x-request-id"));
  const ClientReply odd = Send("GET", "/health", "x-request-id: a\"b\r\n");
  EXPECT_THAT(odd.headers.at("x-request-id"), MatchesRegex("req-.*")) << "what could break a log is not taken over";
}

TEST_F(KeysTest, ATraceIsPassedOn) {
  Start();
  const std::string good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  EXPECT_EQ(Send("GET", "/health", absl::StrCat("traceparent: ", good, "\r\n")).headers.at("traceparent"), good);
  for (const char* bad : {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331", "00-x-y-01",
                          "00-00000000000000000000000000000000-b7ad6b7169203331-01",
                          "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}) {
    EXPECT_EQ(Send("GET", "/health", absl::StrCat("traceparent: ", bad, "\r\n")).headers.count("traceparent"), 0u)
        << bad;
  }
}

TEST_F(KeysTest, PagesOfKnownOriginsMayAsk) {
  const std::string secret = Create("ana", Role::kUser);
  Start();
  const std::string origin = "Origin: https://chat.example.org\r\n";
  const ClientReply before = Send("OPTIONS", "/v1/completions",
                                  origin +
                                      "Access-Control-Request-Method: POST\r\n"
                                      "Access-Control-Request-Headers: authorization, content-type\r\n");
  EXPECT_EQ(before.status, 200) << "a preflight brings no key";
  EXPECT_EQ(before.headers.at("access-control-allow-origin"), "https://chat.example.org");
  EXPECT_EQ(before.headers.at("access-control-allow-headers"), "authorization, content-type");
  EXPECT_THAT(before.headers.at("access-control-allow-methods"), HasSubstr("POST"));
  for (const bool stream : {false, true}) {
    const ClientReply reply =
        Send("POST", "/v1/completions", absl::StrCat(origin, "x-api-key: ", secret, "\r\n"),
             absl::StrCat(R"({"prompt": "one", "max_tokens": 1, "stream": )", stream ? "true" : "false", "}"));
    EXPECT_EQ(reply.status, 200);
    EXPECT_EQ(reply.headers.at("access-control-allow-origin"), "https://chat.example.org");
    EXPECT_EQ(reply.headers.count("x-request-id"), 1u);
  }
  EXPECT_EQ(Send("GET", "/health", "Origin: https://evil.example.org\r\n").headers.count("access-control-allow-origin"),
            0u);
}

// Without a gate nobody needs a key, and the server says that it keeps no account.
TEST(Keys, AreOptional) {
  TestServer server;
  HttpClient client(server.port());
  EXPECT_EQ(client.Get("/v1/models").status, 200);
  const ClientReply reply = client.Get("/v1/usage");
  EXPECT_EQ(reply.status, 404);
  EXPECT_EQ(reply.json()["error"]["code"], "no_keys");
}

}  // namespace
}  // namespace barn
