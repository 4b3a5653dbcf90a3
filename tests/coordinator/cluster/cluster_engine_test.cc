#include "coordinator/cluster/cluster_engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "proto/base/keepalive.h"
#include "tests/coordinator/cluster/scripted_worker.h"

namespace barn {
namespace {

using ::testing::HasSubstr;

constexpr char kModel[] = BARN_SOURCE_DIR "/../shared/oracles/arch/llama-f32.gguf";
constexpr absl::Duration kPatience = absl::Seconds(20);

// One request from its submission to its last update.
struct Caller {
  absl::Mutex mutex;
  std::vector<int32_t> tokens;
  RequestUpdate last;
  absl::Notification done;

  std::function<void(RequestUpdate)> OnUpdate() {
    return [this](RequestUpdate update) {
      {
        absl::MutexLock lock(&mutex);
        for (const GeneratedToken& token : update.tokens) tokens.push_back(token.id);
        last = update;
      }
      if (update.finish != FinishReason::kNone) done.Notify();
    };
  }
  bool Wait() { return done.WaitForNotificationWithTimeout(kPatience); }
};

GenerateRequest Request(std::vector<int32_t> prompt, int64_t max_tokens) {
  GenerateRequest request;
  request.prompt = std::move(prompt);
  request.max_tokens = max_tokens;
  request.ignore_end = true;
  request.sampling.temperature = 0;
  return request;
}

class ClusterEngineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto model = GgufModel::Open(kModel);
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
    options_.token = "secret";
    fake_.vocabulary = static_cast<int>(ReadModelConfig(*model_)->vocabulary);
  }
  void Start(int workers) {
    options_.workers_expected = workers;
    auto engine = ClusterEngine::Create(options_, *model_, {2});
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
  }
  std::unique_ptr<ScriptedWorker> Serve(const std::string& name) {
    auto worker = std::make_unique<ScriptedWorker>(engine_->port(), "secret");
    worker->Serve(name, fake_);
    return worker;
  }
  bool Until(const std::function<bool(const EngineState&)>& condition) {
    const absl::Time end = absl::Now() + kPatience;
    while (absl::Now() < end) {
      if (condition(engine_->State())) return true;
      absl::SleepFor(absl::Milliseconds(5));
    }
    return false;
  }
  // How a stream ends whose first message is `first`.
  grpc::Status EndOfStream(const std::string& token, const proto::WorkerMessage& first) {
    ScriptedWorker worker(engine_->port(), token);
    worker.Write(first);
    proto::CoordinatorMessage message;
    while (worker.Read(&message)) {
    }
    return worker.Finish();
  }

  ClusterOptions options_;
  std::unique_ptr<GgufModel> model_;
  FakeModel fake_;
  std::unique_ptr<ClusterEngine> engine_;
};

TEST_F(ClusterEngineTest, ServesManyRequestsFromManyThreads) {
  Start(2);
  EXPECT_EQ(engine_->Submit(Request({1}, 1), [](RequestUpdate) {}).status().code(), absl::StatusCode::kUnavailable);
  const auto first = Serve("a"), second = Serve("b");
  ASSERT_TRUE(engine_->WaitReady(kPatience).ok());
  std::vector<std::thread> threads;
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([this, i] {
      Caller caller;
      auto id = engine_->Submit(Request({i, 2, 3}, 8 + i), caller.OnUpdate());
      ASSERT_TRUE(id.ok()) << id.status();
      ASSERT_TRUE(caller.Wait());
      EXPECT_EQ(caller.last.request_id, *id);
      EXPECT_EQ(caller.last.finish, FinishReason::kLength);
      EXPECT_EQ(caller.tokens, fake_.Answer({i, 2, 3}, 8 + i, {}));
    });
  }
  for (std::thread& thread : threads) thread.join();
  const EngineState state = engine_->State();
  EXPECT_EQ(state.requests_total, 16);
  EXPECT_EQ(state.kv_blocks_free, state.kv_blocks_total);
  EXPECT_EQ(state.workers.size(), 2u);
}

TEST_F(ClusterEngineTest, SubmitRefusesWhatDoesNotFitTheContext) {
  Start(1);
  const auto worker = Serve("a");
  ASSERT_TRUE(engine_->WaitReady(kPatience).ok());
  const int64_t context = engine_->State().context_tokens_max;
  const absl::Status status = engine_->Submit(Request({1}, context), [](RequestUpdate) {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat("the context of ", context)));
}

TEST_F(ClusterEngineTest, CancelEndsARequest) {
  Start(1);
  const auto worker = Serve("a");
  ASSERT_TRUE(engine_->WaitReady(kPatience).ok());
  Caller caller;
  auto id = engine_->Submit(Request({1}, engine_->State().context_tokens_max - 1), caller.OnUpdate());
  ASSERT_TRUE(id.ok());
  engine_->Cancel(*id);
  engine_->Cancel(12345);
  ASSERT_TRUE(caller.Wait());
  EXPECT_EQ(caller.last.finish, FinishReason::kCancelled);
}

TEST_F(ClusterEngineTest, AnswersGoOnWhenAWorkerThatVanishedComesBack) {
  Start(2);
  auto first = Serve("a"), second = Serve("b");
  ASSERT_TRUE(engine_->WaitReady(kPatience).ok());
  const int64_t tokens = std::min<int64_t>(engine_->State().context_tokens_max - 1, 1500);
  Caller caller;
  ASSERT_TRUE(engine_->Submit(Request({1}, tokens), caller.OnUpdate()).ok());
  second->Vanish();
  ASSERT_TRUE(Until([](const EngineState& state) { return !state.ready; }));
  EXPECT_THAT(engine_->WaitReady(absl::Milliseconds(50)).ToString(), HasSubstr("waiting for 1 of 2 workers"));
  ASSERT_FALSE(caller.done.HasBeenNotified()) << "the answer was faster than the loss";
  EXPECT_EQ(engine_->Submit(Request({5}, 4), [](RequestUpdate) {}).status().code(), absl::StatusCode::kUnavailable);
  second = Serve("b");
  ASSERT_TRUE(engine_->WaitReady(kPatience).ok());
  ASSERT_TRUE(caller.Wait());
  EXPECT_EQ(caller.last.finish, FinishReason::kLength);
  EXPECT_EQ(caller.tokens, fake_.Answer({1}, tokens, {}));
}

TEST_F(ClusterEngineTest, ASilentWorkerLosesItsLease) {
  options_.lease = absl::Milliseconds(300);
  Start(1);
  ScriptedWorker silent(engine_->port(), "secret");
  silent.Write(ScriptedWorker::Hello("silent"));
  ASSERT_TRUE(Until([](const EngineState& state) { return state.workers.size() == 1; }));
  ASSERT_TRUE(Until([](const EngineState& state) { return state.workers.empty(); }));
  proto::CoordinatorMessage message;
  while (silent.Read(&message)) {
  }
  EXPECT_EQ(silent.Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
}

TEST_F(ClusterEngineTest, AnIdleWorkerMayProbeTheConnection) {
  options_.lease = absl::Minutes(1);
  Start(2);  // Waits for the other worker, so that nothing is sent that would excuse a probe.
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kJoinProbeMsMin + 100);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  ScriptedWorker idle(engine_->port(), "secret", arguments);
  idle.Write(ScriptedWorker::Hello("idle"));
  ASSERT_TRUE(Until([](const EngineState& state) { return state.workers.size() == 1; }));
  absl::SleepFor(absl::Seconds(7));  // The fourth probe would be one too many.
  EXPECT_EQ(engine_->State().workers.size(), 1u);
}

TEST_F(ClusterEngineTest, StreamsThatAreNoWorkersEndWithTheReason) {
  options_.lease = absl::Milliseconds(300);
  Start(1);
  EXPECT_EQ(EndOfStream("wrong", ScriptedWorker::Hello("a")).error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(EndOfStream("", ScriptedWorker::Hello("a")).error_code(), grpc::StatusCode::UNAUTHENTICATED);
  proto::WorkerMessage other_version = ScriptedWorker::Hello("a");
  other_version.mutable_hello()->set_version("9.9");
  const grpc::Status version = EndOfStream("secret", other_version);
  EXPECT_EQ(version.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(version.error_message(), HasSubstr("9.9"));
  proto::WorkerMessage heartbeat;
  heartbeat.mutable_heartbeat();
  EXPECT_EQ(EndOfStream("secret", heartbeat).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  ScriptedWorker mute(engine_->port(), "secret");
  proto::CoordinatorMessage message;
  EXPECT_FALSE(mute.Read(&message));
  EXPECT_EQ(mute.Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(engine_->State().workers.empty());
}

TEST_F(ClusterEngineTest, AModelThatDoesNotFitIsSaidAtOnce) {
  Start(1);
  ScriptedWorker small(engine_->port(), "secret");
  proto::WorkerMessage hello = ScriptedWorker::Hello("small");
  hello.mutable_hello()->set_memory_bytes(1000);
  small.Write(hello);
  EXPECT_EQ(engine_->WaitReady(kPatience).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(engine_->State().failed);
}

TEST_F(ClusterEngineTest, WaitingShowsProgressAndLetsItEndTheWait) {
  Start(2);
  const auto worker = Serve("a");
  int looks = 0;
  EXPECT_EQ(engine_->WaitReady(absl::InfiniteDuration(),
                               [&](const EngineState& state) {
                                 EXPECT_FALSE(state.ready);
                                 EXPECT_EQ(engine_->State().ready, state.ready);  // It may ask the engine itself.
                                 return ++looks == 3 ? absl::CancelledError("enough") : absl::OkStatus();
                               }),
            absl::CancelledError("enough"));
  EXPECT_EQ(looks, 3);
  const auto other = Serve("b");
  EXPECT_TRUE(engine_->WaitReady(kPatience, [](const EngineState&) { return absl::OkStatus(); }).ok());
}

TEST_F(ClusterEngineTest, ShutdownEndsRequestsAndTellsWorkers) {
  Start(1);
  const auto worker = Serve("a");
  ASSERT_TRUE(engine_->WaitReady(kPatience).ok());
  Caller caller;
  ASSERT_TRUE(engine_->Submit(Request({1}, engine_->State().context_tokens_max - 1), caller.OnUpdate()).ok());
  engine_.reset();
  EXPECT_TRUE(caller.done.HasBeenNotified());
  EXPECT_EQ(caller.last.status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(worker->shutdown_reason(), "the coordinator is shutting down");
}

TEST_F(ClusterEngineTest, ShutdownDoesNotWaitForAWorkerThatDoesNotListen) {
  Start(1);
  ScriptedWorker deaf(engine_->port(), "secret");
  deaf.Write(ScriptedWorker::Hello("deaf"));
  ASSERT_TRUE(Until([](const EngineState& state) { return state.workers.size() == 1; }));
  const absl::Time start = absl::Now();
  engine_.reset();
  EXPECT_LT(absl::Now() - start, absl::Seconds(4));
}

TEST_F(ClusterEngineTest, APortInUseIsAnError) {
  Start(1);
  options_.listen = absl::StrCat("127.0.0.1:", engine_->port());
  const absl::Status status = ClusterEngine::Create(options_, *model_, {2}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr(options_.listen));
}

TEST_F(ClusterEngineTest, OtherMachinesNeedAToken) {
  options_.token.clear();
  options_.listen = "0.0.0.0:0";
  EXPECT_EQ(ClusterEngine::Create(options_, *model_, {2}).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(ClusterEngineTest, StatusIsJsonBehindTheToken) {
  options_.model_reference = "tiny";
  Start(1);
  auto stub = proto::Cluster::NewStub(
      grpc::CreateChannel(absl::StrCat("127.0.0.1:", engine_->port()), grpc::InsecureChannelCredentials()));
  proto::StatusReply reply;
  grpc::ClientContext without, with;
  EXPECT_EQ(stub->Status(&without, {}, &reply).error_code(), grpc::StatusCode::UNAUTHENTICATED);
  with.AddMetadata("barn-token", "secret");
  ASSERT_TRUE(stub->Status(&with, {}, &reply).ok());
  const auto json = nlohmann::json::parse(reply.json());
  EXPECT_EQ(json["model"], "tiny");
  EXPECT_EQ(json["ready"], false);
  EXPECT_EQ(json["reason"], "waiting for 1 of 1 workers");
}

}  // namespace
}  // namespace barn
