// A server of several models, over a directory that does what the test says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <list>
#include <map>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "tests/coordinator/http/test_server.h"

namespace barn {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class FakeLease final : public ModelLease {
 public:
  FakeLease(std::shared_ptr<const ServedModel> model, Engine& engine, std::shared_ptr<void> held)
      : model_(std::move(model)), engine_(engine), held_(std::move(held)) {}
  const ServedModel& model() const override { return *model_; }
  Engine& engine() const override { return engine_; }

 private:
  const std::shared_ptr<const ServedModel> model_;
  Engine& engine_;
  const std::shared_ptr<void> held_;
};

// Models "a" and "b" are there, each with an engine of its own; "slow" is loaded when the test says so.
class FakeDirectory final : public ModelDirectory {
 public:
  FakeDirectory() {
    for (const char* name : {"a", "b", "slow"}) {
      models_[name] = std::make_shared<const ServedModel>(
          ServedModel{.id = name, .tokenizer = TestTokenizer(), .context_tokens = 64});
      engines_.emplace(name, FakeEngine::Options{.script = Answers(absl::StrCat("from ", name))});
    }
  }

  std::vector<ListedModel> List() override {
    std::vector<ListedModel> all;
    for (const auto& [name, model] : models_) all.push_back(*Find(name));
    return all;
  }
  std::optional<ListedModel> Find(const std::string& name) override {
    if (!models_.contains(name)) return std::nullopt;
    ListedModel listed{.id = name, .facts = {.size_bytes = 5}, .opened = models_.at(name), .standing = {}};
    listed.standing.phase = name == "slow" ? ModelStanding::Phase::kWaiting : ModelStanding::Phase::kReady;
    listed.standing.engine = engines_.at(name).State();
    if (name == "slow") listed.standing.engine.reason = "waiting for\nroom";
    return listed;
  }
  std::shared_ptr<const ModelLease> Peek(const std::string& name) override { return LeaseOf(name); }
  std::shared_ptr<void> Acquire(const ModelWish& wish, Done done) override {
    absl::MutexLock lock(&mutex_);
    wishes_.push_back(wish);
    if (!models_.contains(wish.name)) {
      done(absl::NotFoundError("no such model"));
    } else if (wish.name != "slow" || !wish.load) {
      done(LeaseOf(wish.name));
    } else {
      waiting_.push_back(std::move(done));
    }
    auto ticket = std::shared_ptr<void>(nullptr, [this](void*) {
      absl::MutexLock ended(&mutex_);
      ++tickets_ended_;
    });
    return ticket;
  }
  absl::Status Unload(const std::string& name) override {
    absl::MutexLock lock(&mutex_);
    unloaded_.push_back(name);
    return absl::OkStatus();
  }
  absl::Status Copy(const std::string&, const std::string&) override { return absl::OkStatus(); }
  absl::Status Delete(const std::string& name) override {
    return name == "a" ? absl::PermissionDeniedError("it stays") : absl::OkStatus();
  }
  std::string NotReady() override { return not_ready_; }
  const std::string& server_version() const override { return version_; }

  // Whoever waits for "slow" gets it, or hears why not.
  void Loaded(const absl::Status& status = absl::OkStatus()) {
    absl::MutexLock lock(&mutex_);
    for (const Done& done : std::exchange(waiting_, {})) {
      if (status.ok()) {
        done(LeaseOf("slow"));
      } else {
        done(status);
      }
    }
  }
  size_t waiting() {
    absl::MutexLock lock(&mutex_);
    return waiting_.size();
  }
  int tickets_ended() {
    absl::MutexLock lock(&mutex_);
    return tickets_ended_;
  }
  int leases() const { return static_cast<int>(held_.use_count()) - 1; }
  std::vector<ModelWish> wishes() {
    absl::MutexLock lock(&mutex_);
    return wishes_;
  }
  std::vector<std::string> unloaded() {
    absl::MutexLock lock(&mutex_);
    return unloaded_;
  }
  void set_not_ready(std::string reason) { not_ready_ = std::move(reason); }

 private:
  std::shared_ptr<const ModelLease> LeaseOf(const std::string& name) {
    return std::make_shared<const FakeLease>(models_.at(name), engines_.at(name), held_);
  }

  std::map<std::string, std::shared_ptr<const ServedModel>> models_;
  std::map<std::string, FakeEngine> engines_;
  const std::shared_ptr<void> held_ = std::make_shared<int>(0);
  const std::string version_ = "1.2.3";
  std::string not_ready_;
  absl::Mutex mutex_;
  std::vector<Done> waiting_ ABSL_GUARDED_BY(mutex_);
  std::vector<ModelWish> wishes_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> unloaded_ ABSL_GUARDED_BY(mutex_);
  int tickets_ended_ ABSL_GUARDED_BY(mutex_) = 0;
};

class SeveralModels : public ::testing::Test {
 protected:
  SeveralModels() {
    auto server = HttpServer::Create({.port = 0}, directory_);
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  HttpClient Client() const { return HttpClient(server_->port()); }
  static json Ask(const std::string& model) { return {{"model", model}, {"prompt", "x"}, {"max_tokens", 8}}; }

  FakeDirectory directory_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(SeveralModels, TheModelFieldChooses) {
  HttpClient client = Client();
  for (const std::string name : {"a", "b"}) {
    const ClientReply reply = client.Post("/v1/completions", Ask(name));
    ASSERT_EQ(reply.status, 200) << reply.body;
    EXPECT_EQ(reply.json()["model"], name);
    EXPECT_THAT(reply.json()["choices"][0]["text"].get<std::string>(), HasSubstr("from " + name));
  }
  EXPECT_EQ(client.Post("/v1/completions", Ask("none")).status, 404);
  EXPECT_EQ(client.Post("/v1/completions", {{"prompt", "x"}}).status, 400);
  EXPECT_EQ(client.PostText("/v1/completions", "{").status, 400);
  EXPECT_EQ(client.Post("/tokenize", {{"model", "b"}, {"content", "x"}}).status, 200);
  EXPECT_FALSE(directory_.wishes().back().load);
  EXPECT_EQ(client.Get("/v1/completions").status, 405);
  EXPECT_EQ(client.Get("/nothing").status, 404);
  EXPECT_TRUE(Eventually([&] { return directory_.leases() == 0; }));
}

TEST_F(SeveralModels, ListsAndGeneralRoutes) {
  HttpClient client = Client();
  const json list = client.Get("/v1/models").json()["data"];
  ASSERT_EQ(list.size(), 3u);
  EXPECT_EQ(list[0]["barn"]["state"], "loaded");
  EXPECT_EQ(list[2]["barn"]["state"], "waiting");
  EXPECT_EQ(list[2]["status"]["value"], "waiting");
  EXPECT_EQ(client.Get("/v1/models/b").json()["id"], "b");
  EXPECT_EQ(client.Get("/v1/models/none").status, 404);
  EXPECT_EQ(client.Get("/api/tags").json()["models"].size(), 3u);
  EXPECT_EQ(client.Get("/api/ps").json()["models"].size(), 2u);
  EXPECT_EQ(client.Get("/api/version").json()["version"], "1.2.3");
  EXPECT_EQ(client.Get("/health").status, 200);
  EXPECT_EQ(client.Get("/ready").status, 200);
  directory_.set_not_ready("waiting for 1 of 2 workers");
  EXPECT_EQ(client.Get("/ready").json()["reason"], "waiting for 1 of 2 workers");
  EXPECT_THAT(client.Get("/metrics").body, HasSubstr("barn_ready{model=\"b\"} 1\n"));
  EXPECT_EQ(client.Post("/models/load", {{"model", "a"}}).json()["success"], true);
  EXPECT_EQ(client.Post("/models/unload", {{"model", "a"}}).status, 200);
  EXPECT_EQ(client.Post("/api/generate", {{"model", "b"}, {"keep_alive", 0}}).json()["done_reason"], "unload");
  EXPECT_THAT(directory_.unloaded(), ElementsAre("a", "b"));
  EXPECT_EQ(client.Post("/api/copy", {{"source", "a"}, {"destination", "c"}}).status, 200);
  EXPECT_EQ(client.Get("/models/load").status, 405);
}

TEST_F(SeveralModels, AWholeAnswerWaits) {
  HttpClient client = Client();
  ASSERT_TRUE(client.Send(PostBytes("/v1/completions", Ask("slow").dump())));
  ASSERT_TRUE(Eventually([&] { return directory_.waiting() == 1; }));
  directory_.Loaded();
  const ClientReply reply = client.Receive();
  EXPECT_EQ(reply.status, 200);
  EXPECT_THAT(reply.json()["choices"][0]["text"].get<std::string>(), HasSubstr("from slow"));
  EXPECT_EQ(client.Get("/health").status, 200);  // The connection lives on.
}

TEST_F(SeveralModels, AStreamHearsComments) {
  HttpClient client = Client();
  json body = Ask("slow");
  body["stream"] = true;
  ASSERT_TRUE(client.Send(PostBytes("/v1/completions", body.dump())));
  std::string seen;
  while (seen.find(": waiting for room\n\n") == std::string::npos) {
    const std::string more = client.ReceiveSome();
    ASSERT_FALSE(more.empty()) << seen;
    seen += more;
  }
  EXPECT_THAT(seen, HasSubstr("text/event-stream"));
  directory_.Loaded();
  while (seen.find("data: [DONE]\n\n") == std::string::npos) {
    const std::string more = client.ReceiveSome();
    ASSERT_FALSE(more.empty()) << seen;
    seen += more;
  }
  EXPECT_THAT(seen, HasSubstr("from"));
  EXPECT_EQ(seen.find("HTTP/1.1", 8), std::string::npos);  // One head.
}

TEST_F(SeveralModels, AFailureAfterCommentsIsTheLastEvent) {
  HttpClient client = Client();
  const json user = {{"role", "user"}, {"content", "x"}};
  const json body = {{"model", "slow"}, {"messages", json::array({user})}, {"stream", true}};
  ASSERT_TRUE(client.Send(PostBytes("/v1/chat/completions", body.dump())));
  std::string seen;
  while (seen.find(": waiting for room\n\n") == std::string::npos) {
    const std::string more = client.ReceiveSome();
    ASSERT_FALSE(more.empty()) << seen;
    seen += more;
  }
  directory_.Loaded(absl::DataLossError("a broken file"));
  while (seen.find("\r\n0\r\n\r\n") == std::string::npos) {
    const std::string more = client.ReceiveSome();
    ASSERT_FALSE(more.empty()) << seen;
    seen += more;
  }
  EXPECT_THAT(seen, HasSubstr("the model 'slow' cannot be loaded: a broken file"));
}

TEST_F(SeveralModels, WhatMakesNoSenseDoesNotWait) {
  HttpClient client = Client();
  json body = Ask("slow");
  body["max_tokens"] = -5;
  EXPECT_EQ(client.Post("/v1/completions", body).status, 400);
  EXPECT_TRUE(Eventually([&] { return directory_.tickets_ended() == 1; }));
}

TEST_F(SeveralModels, WhoLeavesGivesUp) {
  {
    HttpClient client = Client();
    ASSERT_TRUE(client.Send(PostBytes("/v1/completions", Ask("slow").dump())));
    ASSERT_TRUE(Eventually([&] { return directory_.waiting() == 1; }));
    EXPECT_EQ(directory_.tickets_ended(), 0);
  }
  EXPECT_TRUE(Eventually([&] { return directory_.tickets_ended() == 1; }));
}

TEST_F(SeveralModels, FailuresHaveTheirStatus) {
  HttpClient client = Client();
  const std::pair<absl::Status, int> cases[] = {{absl::DataLossError("x"), 500},
                                                {absl::ResourceExhaustedError("x"), 500},
                                                {absl::UnavailableError("x"), 503},
                                                {absl::DeadlineExceededError("x"), 503}};
  for (const auto& [status, code] : cases) {
    ASSERT_TRUE(client.Send(PostBytes("/v1/completions", Ask("slow").dump(), "Prefer: wait=7\r\n")));
    ASSERT_TRUE(Eventually([&] { return directory_.waiting() == 1; }));
    directory_.Loaded(status);
    const ClientReply reply = client.Receive();
    EXPECT_EQ(reply.status, code) << status;
    EXPECT_EQ(reply.headers.contains("retry-after"), code == 503) << status;
  }
  EXPECT_EQ(directory_.wishes().back().wait_max, absl::Seconds(7));
}

}  // namespace
}  // namespace barn
