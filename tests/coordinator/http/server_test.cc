#include "coordinator/http/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/coordinator/http/test_server.h"

namespace barn {
namespace {

using nlohmann::json;

constexpr char kStream[] = R"({"prompt": "one two three", "max_tokens": 200, "stream": true})";

TEST(Server, PortInUseIsAClearError) {
  TestServer server;
  FakeEngine engine({});
  const auto second = HttpServer::Create({.port = server.port()},
                                         {.id = "m", .tokenizer = TestTokenizer(), .context_tokens = 8}, engine);
  ASSERT_EQ(second.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(second.status().message(), absl::StrCat("127.0.0.1:", server.port(), " is in use"));
  const auto nowhere =
      HttpServer::Create({.host = "192.0.2.1"}, {.id = "m", .tokenizer = TestTokenizer(), .context_tokens = 8}, engine);
  EXPECT_EQ(nowhere.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(Server, TellsAboutItsModelAndHealth) {
  TestServer server;
  HttpClient client(server.port());
  const json list = client.Get("/v1/models").json();
  EXPECT_EQ(list["object"], "list");
  EXPECT_EQ(list["data"][0]["id"], kTestModel);
  EXPECT_EQ(list["data"][0]["created"], 1700000000);
  EXPECT_THAT(list["data"][0]["barn"]["chat_template"].get<std::string>(), testing::HasSubstr("plain role prefixes"));
  EXPECT_EQ(list["data"][0]["barn"]["context_tokens"], 256);
  EXPECT_EQ(client.Get("/v1/models/fake%2Dmodel").json()["id"], kTestModel);
  EXPECT_EQ(client.Get("/v1/models/none").status, 404);
  EXPECT_EQ(client.Get("/health?verbose=1").status, 200);
  EXPECT_EQ(client.Get("/ready").status, 200);
  server.engine.SetReady(false, "loading 41 %");
  const ClientReply reply = client.Get("/ready");
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(reply.json()["reason"], "loading 41 %");
  EXPECT_EQ(client.Get("/health").status, 200);
}

TEST(Server, CountsWhatItServes) {
  TestServer server;
  HttpClient client(server.port());
  client.Post("/v1/completions", {{"prompt", "x"}, {"max_tokens", 5}});
  client.Get("/some/stranger");
  const ClientReply reply = client.Get("/metrics");
  EXPECT_THAT(reply.headers.at("content-type"), testing::StartsWith("text/plain; version=0.0.4"));
  for (const std::string line :
       {"barn_ready 1\n", "barn_requests_total 1\n", "barn_generated_tokens_total 5\n", "barn_http_connections 1\n",
        "barn_http_requests_total{route=\"/v1/completions\",code=\"200\"} 1\n",
        "barn_http_requests_total{route=\"other\",code=\"404\"} 1\n", "# TYPE barn_steps_total counter\n"}) {
    EXPECT_THAT(reply.body, testing::HasSubstr(line));
  }
}

TEST(Server, PipelinedRequestsAreAnsweredInOrder) {
  TestServer server;
  HttpClient client(server.port());
  std::string all;
  for (int i = 1; i <= 20; ++i) {
    all += PostBytes("/v1/completions", json({{"prompt", "one"}, {"max_tokens", i}, {"stream", i % 2 == 0}}).dump());
  }
  client.Send(all);
  for (int i = 1; i <= 20; ++i) {
    const ClientReply reply = client.Receive();
    ASSERT_EQ(reply.status, 200);
    if (i % 2 == 1) {
      EXPECT_EQ(reply.json()["usage"]["completion_tokens"], i);
    } else {
      EXPECT_EQ(reply.events().size(), i + 2);
    }
  }
}

TEST(Server, HttpOneZeroGetsAPlainStreamUntilTheEnd) {
  TestServer server;
  HttpClient client(server.port());
  const std::string body = R"({"prompt": "one", "max_tokens": 2, "stream": true})";
  client.Send(absl::StrCat("POST /v1/completions HTTP/1.0\r\nContent-Length: ", body.size(), "\r\n\r\n", body));
  const ClientReply reply = client.Receive();
  EXPECT_EQ(reply.headers.count("transfer-encoding"), 0);
  EXPECT_EQ(reply.events().back(), "[DONE]");
}

TEST(Server, HeadAndExpectAndChunkedBodies) {
  TestServer server;
  HttpClient client(server.port());
  client.Send("HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(client.Receive(true).headers.at("content-length"), "15");
  const std::string body = R"({"prompt": "one", "max_tokens": 1})";
  client.Send(absl::StrCat("POST /v1/completions HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: ", body.size(),
                           "\r\n\r\n"));
  EXPECT_EQ(client.Receive().status, 100);
  client.Send(body);
  EXPECT_EQ(client.Receive().status, 200);
  client.Send("POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (const char byte : body) client.Send(absl::StrCat("1\r\n", std::string(1, byte), "\r\n"));
  client.Send("0\r\n\r\n");
  EXPECT_EQ(client.Receive().status, 200);
}

TEST(Server, LimitsHaveTheirOwnStatus) {
  TestServer server({}, {.limits = {.header_bytes_max = 1024, .body_bytes_max = 10'000}});
  {
    HttpClient client(server.port());
    EXPECT_EQ(client.PostText("/v1/completions", std::string(20'000, ' ')).status, 413);
    EXPECT_EQ(client.ReceiveSome(), "");  // Closed.
  }
  {
    HttpClient client(server.port());
    client.Send("POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 4; ++i) client.Send(absl::StrCat("bb8\r\n", std::string(3000, ' '), "\r\n"));
    EXPECT_EQ(client.Receive().status, 413);
  }
  {
    HttpClient client(server.port());
    client.Send(absl::StrCat("GET / HTTP/1.1\r\nX: ", std::string(2000, 'x'), "\r\n\r\n"));
    EXPECT_EQ(client.Receive().status, 431);
  }
  for (const std::string junk : {"\x16\x03\x01\x02\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n",
                                 "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"}) {
    HttpClient client(server.port());
    client.Send(junk);
    EXPECT_EQ(client.Receive().status, 400) << junk;
  }
}

TEST(Server, BodiesTogetherAreBounded) {
  TestServer server({}, {.body_bytes_total_max = 50'000});
  HttpClient holds(server.port());
  holds.Send(absl::StrCat("POST /v1/completions HTTP/1.1\r\nContent-Length: 60000\r\n\r\n", std::string(40'000, ' ')));
  HttpClient client(server.port());
  const auto status = [&] {
    HttpClient other(server.port());
    return other.PostText("/v1/completions", std::string(20'000, ' ')).status;
  };
  EXPECT_TRUE(Eventually([&] { return status() == 503; }));
  holds.Close();
  EXPECT_TRUE(Eventually([&] { return status() == 400; }));  // Read again, and no JSON.
}

TEST(Server, SlowAndSilentClientsAreClosed) {
  TestServer server({}, {.idle_timeout = absl::Milliseconds(200),
                         .header_timeout = absl::Milliseconds(200),
                         .body_timeout = absl::Milliseconds(200)});
  for (const std::string start : {"", "GET / HT", "POST /v1/completions HTTP/1.1\r\nContent-Length: 100\r\n\r\n{"}) {
    HttpClient client(server.port());
    client.Send(start);
    EXPECT_EQ(client.ReceiveSome(), "") << start;
  }
  // A byte now and then does not extend the time for a header.
  HttpClient drip(server.port());
  EXPECT_TRUE(Eventually([&] {
    absl::SleepFor(absl::Milliseconds(20));
    return !drip.Send("G");
  }));
}

TEST(Server, ConnectionsOverTheLimitAreToldSo) {
  TestServer server({}, {.connections_max = 2});
  HttpClient first(server.port()), second(server.port());
  EXPECT_EQ(first.Get("/health").status, 200);
  EXPECT_EQ(second.Get("/health").status, 200);
  HttpClient third(server.port());
  const ClientReply reply = third.Receive();
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(reply.headers.at("retry-after"), "1");
  first.Close();
  EXPECT_TRUE(Eventually([&] { return HttpClient(server.port()).Get("/health").status == 200; }));
}

// In a stream, while waiting for a whole answer, and before the first token.
TEST(Server, AClientThatLeavesFreesItsSequence) {
  const std::string whole = R"({"prompt": "one two three", "max_tokens": 200})";
  for (const std::string& body : {std::string(kStream), whole}) {
    for (const int steps : {0, 3}) {
      TestServer server({.manual = true});
      HttpClient client(server.port());
      client.Send(PostBytes("/v1/completions", body));
      ASSERT_TRUE(Eventually([&] { return server.engine.active() == 1; }));
      for (int i = 0; i < steps; ++i) server.engine.Step();
      client.Close();
      // Without any further token: the leaving itself is noticed.
      EXPECT_TRUE(Eventually([&] { return server.engine.cancelled() == 1; }));
      server.engine.Step();
      EXPECT_EQ(server.engine.active(), 0);
    }
  }
}

TEST(Server, AClientThatDoesNotReadIsDropped) {
  TestServer server({.context_tokens = 1 << 20, .step = absl::Microseconds(50)},
                    {.write_timeout = absl::Milliseconds(300)});
  HttpClient client(server.port());
  client.ShrinkReceiveBuffer();
  client.Send(
      PostBytes("/v1/completions", R"({"prompt": "one", "max_tokens": 200000, "stream": true, "logprobs": 20})"));
  EXPECT_TRUE(Eventually([&] { return server.engine.cancelled() == 1; }));
}

TEST(Server, SilenceIsFilledWithComments) {
  TestServer server({.manual = true}, {.keep_alive_interval = absl::Milliseconds(50)});
  HttpClient client(server.port());
  client.Send(PostBytes("/v1/completions", kStream));
  std::string seen;
  while (seen.find("\n: ") == std::string::npos) {
    const std::string more = client.ReceiveSome();
    ASSERT_NE(more, "") << seen;
    seen += more;
  }
}

TEST(Server, TwoHundredStreamsAtOnce) {
  TestServer server({.step = absl::Milliseconds(1)});
  std::vector<std::unique_ptr<HttpClient>> clients;
  for (int i = 0; i < 200; ++i) {
    clients.push_back(std::make_unique<HttpClient>(server.port()));
    const json body = {{"prompt", absl::StrCat("number ", i)}, {"max_tokens", 50}, {"stream", true}};
    ASSERT_TRUE(clients.back()->Send(PostBytes("/v1/completions", body.dump())));
  }
  for (int i = 0; i < 200; ++i) {
    const ClientReply reply = clients[i]->Receive();
    ASSERT_EQ(reply.status, 200);
    EXPECT_EQ(reply.events().back(), "[DONE]");
    std::string text;
    for (const std::string& event : reply.events()) {
      if (event != "[DONE]") text += json::parse(event)["choices"][0]["text"].get<std::string>();
    }
    EXPECT_THAT(text, testing::HasSubstr(absl::StrCat("number ", i)));
  }
}

TEST(Server, StopLetsAnswersFinishAndThenCancels) {
  {
    TestServer server({.step = absl::Milliseconds(5)});
    HttpClient client(server.port()), idle(server.port());
    ASSERT_EQ(idle.Get("/health").status, 200);
    client.Send(PostBytes("/v1/completions", R"({"prompt": "one", "max_tokens": 40, "stream": true})"));
    ASSERT_TRUE(Eventually([&] { return server.engine.active() == 1; }));
    server.server->Stop(absl::Seconds(10));
    EXPECT_EQ(client.Receive().events().back(), "[DONE]");
    EXPECT_EQ(idle.ReceiveSome(), "");
    EXPECT_EQ(HttpClient(server.port()).Get("/health").status, 0);
  }
  {
    TestServer server({.manual = true});
    HttpClient client(server.port());
    client.Send(PostBytes("/v1/completions", kStream));
    ASSERT_TRUE(Eventually([&] { return server.engine.active() == 1; }));
    const absl::Time start = absl::Now();
    server.server.reset();
    EXPECT_LT(absl::Now() - start, absl::Seconds(5));
    EXPECT_EQ(server.engine.cancelled(), 1);
    server.engine.Step();  // The engine may still call back.
  }
}

}  // namespace
}  // namespace barn
