// What a worker does when others fail: a peer, the coordinator, or a plan that ended.
#include <gtest/gtest.h>

#include <thread>

#include "absl/time/clock.h"
#include "tests/worker/service/worker_fixture.h"
#include "worker/service/worker.h"

namespace barn {
namespace {

const std::vector<int32_t> kPrompt = {172, 199, 170, 144, 252};

bool IsFailure(const std::optional<proto::WorkerMessage>& answer, absl::StatusCode code) {
  return answer && answer->has_step_failure() && answer->step_failure().code() == static_cast<int>(code);
}

// Two workers with a loaded pipeline.
struct TwoStages {
  FakeCoordinator coordinator;
  std::unique_ptr<RunningWorker> worker_a, worker_b;
  std::shared_ptr<FakeCoordinator::Peer> first, last;

  TwoStages() {
    worker_a = std::make_unique<RunningWorker>(TestWorkerOptions(coordinator));
    first = coordinator.AwaitPeer(0);
    worker_b = std::make_unique<RunningWorker>(TestWorkerOptions(coordinator));
    last = coordinator.AwaitPeer(1);
    LoadTwoStages(*first, *last, 1, 2);
  }
  bool RunStep(int64_t epoch, int64_t step, int64_t position) {
    const auto message = StepMessage(epoch, step, position, kPrompt);
    first->Send(message);
    last->Send(message);
    const auto a = first->NextAnswer(), b = last->NextAnswer();
    return a && b && a->has_step_result() && b->has_step_result();
  }
};

TEST(WorkerFailure, ADeadStageBeforeIsAStepFailureSoon) {
  TwoStages pipeline;
  ASSERT_TRUE(pipeline.RunStep(1, 1, 0));
  pipeline.last->Send(StepMessage(1, 2, 5, kPrompt));
  absl::SleepFor(absl::Milliseconds(100));
  const absl::Time began = absl::Now();
  EXPECT_TRUE(pipeline.worker_a->End().ok());
  EXPECT_TRUE(IsFailure(pipeline.last->NextAnswer(), absl::StatusCode::kUnavailable));
  EXPECT_LT(absl::Now() - began, absl::Seconds(5));
}

TEST(WorkerFailure, ADeadNextStageIsAStepFailureSoon) {
  TwoStages pipeline;
  ASSERT_TRUE(pipeline.RunStep(1, 1, 0));
  EXPECT_TRUE(pipeline.worker_b->End().ok());
  const absl::Time began = absl::Now();
  bool failed = false;
  // The first frame after the loss may still be copied to a connection that nobody reads.
  for (int step = 2; step < 10 && !failed; ++step) {
    pipeline.first->Send(StepMessage(1, step, 5, kPrompt));
    failed = IsFailure(pipeline.first->NextAnswer(), absl::StatusCode::kUnavailable);
  }
  EXPECT_TRUE(failed);
  EXPECT_LT(absl::Now() - began, absl::Seconds(10));
}

TEST(WorkerFailure, AStageThatNeverSendsIsABoundedWaitWithHeartbeats) {
  FakeCoordinator coordinator;
  WorkerOptions options = TestWorkerOptions(coordinator);
  options.frame_wait = absl::Milliseconds(700);
  RunningWorker worker(options);
  const auto peer = coordinator.AwaitPeer(0);
  peer->Send(LoadMessage({.stage = 1, .stages = 2, .first_layer = 1}));
  ASSERT_EQ(peer->NextLoadResult()->code(), 0);
  const int64_t beats = peer->heartbeats();
  peer->Send(StepMessage(1, 1, 0, kPrompt));
  EXPECT_TRUE(IsFailure(peer->NextAnswer(), absl::StatusCode::kDeadlineExceeded));
  EXPECT_GE(peer->heartbeats() - beats, 4);
}

TEST(WorkerFailure, ANewEpochAbortsTheWaitOfTheOldAndKeepsTheWeights) {
  TwoStages pipeline;
  ASSERT_TRUE(pipeline.RunStep(1, 1, 0));
  pipeline.last->Send(StepMessage(1, 2, 5, kPrompt));  // Its frame never comes.
  absl::SleepFor(absl::Milliseconds(100));
  const absl::Time began = absl::Now();
  LoadTwoStages(*pipeline.first, *pipeline.last, 2, 2);
  EXPECT_LT(absl::Now() - began, absl::Seconds(5));
  // The KV cache belongs to nobody now: the same prompt from the start gives the same answer.
  ASSERT_TRUE(pipeline.RunStep(2, 1, 0));
  pipeline.first->Send(StepMessage(1, 3, 0, kPrompt));
  EXPECT_TRUE(IsFailure(pipeline.first->NextAnswer(), absl::StatusCode::kFailedPrecondition));
}

TEST(WorkerFailure, UnloadEndsTheEpoch) {
  FakeCoordinator coordinator;
  RunningWorker worker(TestWorkerOptions(coordinator));
  const auto peer = coordinator.AwaitPeer(0);
  peer->Send(LoadMessage({}));
  ASSERT_EQ(peer->NextLoadResult()->code(), 0);
  proto::CoordinatorMessage unload;
  unload.mutable_unload()->set_epoch(1);
  peer->Send(unload);
  peer->Send(StepMessage(1, 1, 0, kPrompt));
  EXPECT_TRUE(IsFailure(peer->NextAnswer(), absl::StatusCode::kFailedPrecondition));
}

TEST(WorkerFailure, ABrokenConnectionIsDialledAgain) {
  FakeCoordinator coordinator;
  RunningWorker worker(TestWorkerOptions(coordinator));
  const auto peer = coordinator.AwaitPeer(0);
  peer->Send(LoadMessage({}));
  ASSERT_EQ(peer->NextLoadResult()->code(), 0);
  peer->Cut();
  EXPECT_TRUE(peer->AwaitEnd());
  const auto again = coordinator.AwaitPeer(1);
  ASSERT_NE(again, nullptr);
  again->Send(LoadMessage({.epoch = 5}));
  ASSERT_EQ(again->NextLoadResult()->code(), 0);
  EXPECT_TRUE(again->progress().empty());  // The slice was kept: nothing was loaded.
  again->Send(StepMessage(5, 1, 0, kPrompt));
  const auto answer = again->NextAnswer();
  EXPECT_TRUE(answer && answer->has_step_result());
}

TEST(WorkerFailure, StopEndsAWorkerThatFindsNobody) {
  FakeCoordinator coordinator;
  WorkerOptions options = TestWorkerOptions(coordinator);
  options.join_address = "127.0.0.1:1";  // Nobody listens there.
  RunningWorker lonely(options);
  absl::SleepFor(absl::Milliseconds(500));
  EXPECT_TRUE(lonely.End().ok());
}

TEST(WorkerFailure, AWrongTokenEndsTheWorkerWithTheReason) {
  FakeCoordinator coordinator;
  WorkerOptions options = TestWorkerOptions(coordinator);
  options.token = "wrong";
  auto worker = *Worker::Create(options);
  const absl::Status status = worker->Run();
  EXPECT_TRUE(absl::IsUnauthenticated(status)) << status;
}

TEST(WorkerFailure, ShutdownEndsTheWorker) {
  FakeCoordinator coordinator;
  auto worker = *Worker::Create(TestWorkerOptions(coordinator));
  absl::Status status = absl::UnknownError("");
  std::thread running([&] { status = worker->Run(); });
  const auto peer = coordinator.AwaitPeer(0);
  proto::CoordinatorMessage message;
  message.mutable_shutdown()->set_reason("test");
  peer->Send(message);
  running.join();
  EXPECT_TRUE(status.ok()) << status;
}

TEST(WorkerFailure, AddressesWithoutATokenStayOnThisMachine) {
  WorkerOptions far;
  far.join_address = "10.1.2.3:7070";
  EXPECT_TRUE(absl::IsFailedPrecondition(Worker::Create(far).status()));
  WorkerOptions open;
  open.join_address = "127.0.0.1:7070";
  open.listen_host = "0.0.0.0";
  EXPECT_TRUE(absl::IsFailedPrecondition(Worker::Create(open).status()));
}

}  // namespace
}  // namespace barn
