// Slices of several models side by side on one worker.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "tests/sharding/http_range_server.h"
#include "tests/worker/service/worker_fixture.h"

namespace barn {
namespace {

const std::vector<int32_t> kPrompt = {17, 4, 250, 99, 3};
const std::vector<int32_t> kOther = {8, 8, 120};
constexpr int64_t kSliceBytes = 3 << 20;  // More than the oracle model needs, less than twice that.

std::vector<float> StepLogits(FakeCoordinator::Peer& peer) {
  const auto answer = peer.NextAnswer();
  if (!answer || !answer->has_step_result()) return {};
  return FullLogits(answer->step_result().sequences(0));
}

absl::StatusCode Code(const std::optional<proto::LoadResult>& result) {
  return result ? static_cast<absl::StatusCode>(result->code()) : absl::StatusCode::kUnknown;
}

bool Fails(FakeCoordinator::Peer& peer) {
  const auto answer = peer.NextAnswer();
  return answer && answer->has_step_failure() &&
         answer->step_failure().code() == static_cast<int>(absl::StatusCode::kFailedPrecondition);
}

proto::CoordinatorMessage Unload(int64_t epoch) {
  proto::CoordinatorMessage message;
  message.mutable_unload()->set_epoch(epoch);
  return message;
}

proto::CoordinatorMessage EndEpoch(int64_t epoch) {
  proto::CoordinatorMessage message;
  message.mutable_end_epoch()->set_epoch(epoch);
  return message;
}

TEST(WorkerResidents, StepsOfTwoModelsTakeTurnsWithBitsOfTheirOwn) {
  FakeCoordinator coordinator;
  RunningWorker worker(TestWorkerOptions(coordinator));
  const auto peer = coordinator.AwaitPeer(0);
  peer->Send(LoadMessage({.epoch = 1, .deployment = 1}));
  ASSERT_EQ(Code(peer->NextLoadResult()), absl::StatusCode::kOk);
  peer->Send(LoadMessage({.epoch = 2, .deployment = 2}));
  ASSERT_EQ(Code(peer->NextLoadResult()), absl::StatusCode::kOk);
  const auto first = SliceLogits({kPrompt, {11}});
  const auto second = SliceLogits({kOther, {12}});
  peer->Send(StepMessage(1, 1, 0, kPrompt));
  peer->Send(StepMessage(2, 1, 0, kOther));
  peer->Send(StepMessage(1, 2, 5, std::vector<int32_t>{11}));
  peer->Send(StepMessage(2, 2, 3, std::vector<int32_t>{12}));
  EXPECT_EQ(StepLogits(*peer), first[0]);
  EXPECT_EQ(StepLogits(*peer), second[0]);
  EXPECT_EQ(StepLogits(*peer), first[1]);
  EXPECT_EQ(StepLogits(*peer), second[1]);

  // A later epoch of one, and the end of the other, leave what remains as it is.
  peer->Send(LoadMessage({.epoch = 3, .deployment = 1}));
  ASSERT_EQ(Code(peer->NextLoadResult()), absl::StatusCode::kOk);
  peer->Send(StepMessage(1, 3, 6, std::vector<int32_t>{11}));
  EXPECT_TRUE(Fails(*peer));
  peer->Send(StepMessage(2, 3, 0, kPrompt));
  EXPECT_EQ(StepLogits(*peer), first[0]);
  peer->Send(Unload(2));
  peer->Send(StepMessage(2, 4, 0, kOther));
  EXPECT_TRUE(Fails(*peer));
  peer->Send(StepMessage(3, 1, 0, kPrompt));
  EXPECT_EQ(StepLogits(*peer), first[0]);
}

TEST(WorkerResidents, MemoryIsCountedTogether) {
  FakeCoordinator coordinator;
  WorkerOptions options = TestWorkerOptions(coordinator);
  options.memory_bytes = kSliceBytes;
  RunningWorker worker(options);
  const auto peer = coordinator.AwaitPeer(0);
  peer->Send(LoadMessage({.epoch = 1, .deployment = 1}));
  ASSERT_EQ(Code(peer->NextLoadResult()), absl::StatusCode::kOk);
  peer->Send(LoadMessage({.epoch = 2, .deployment = 2}));
  const auto refused = peer->NextLoadResult();
  ASSERT_EQ(Code(refused), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(refused->error().find("this worker offers"), std::string::npos) << refused->error();
  peer->Send(StepMessage(1, 1, 0, kPrompt));
  EXPECT_EQ(StepLogits(*peer), SliceLogits({kPrompt})[0]);

  // What is unloaded makes room; and so does what nobody runs any more.
  peer->Send(Unload(1));
  peer->Send(LoadMessage({.epoch = 3, .deployment = 2}));
  ASSERT_EQ(Code(peer->NextLoadResult()), absl::StatusCode::kOk);
  peer->Send(EndEpoch(3));
  peer->Send(LoadMessage({.epoch = 4, .deployment = 1}));
  ASSERT_EQ(Code(peer->NextLoadResult()), absl::StatusCode::kOk);
  peer->Send(StepMessage(4, 1, 0, kPrompt));
  EXPECT_EQ(StepLogits(*peer), SliceLogits({kPrompt})[0]);
}

TEST(WorkerResidents, ANewCoordinatorFindsRoom) {
  FakeCoordinator coordinator;
  WorkerOptions options = TestWorkerOptions(coordinator);
  options.memory_bytes = kSliceBytes;
  RunningWorker worker(options);
  const auto peer = coordinator.AwaitPeer(0);
  peer->Send(LoadMessage({.epoch = 1, .deployment = 1}));
  ASSERT_EQ(Code(peer->NextLoadResult()), absl::StatusCode::kOk);
  peer->Cut();
  const auto again = coordinator.AwaitPeer(1);
  ASSERT_NE(again, nullptr);
  again->Send(LoadMessage({.epoch = 1, .deployment = 7}));  // Numbers of its own.
  ASSERT_EQ(Code(again->NextLoadResult()), absl::StatusCode::kOk);
  again->Send(StepMessage(1, 1, 0, kPrompt));
  EXPECT_EQ(StepLogits(*again), SliceLogits({kPrompt})[0]);
}

TEST(WorkerResidents, TwoPipelinesInOppositeDirections) {
  FakeCoordinator coordinator;
  RunningWorker one(TestWorkerOptions(coordinator)), two(TestWorkerOptions(coordinator));
  const auto a = coordinator.AwaitPeer(0), b = coordinator.AwaitPeer(1);
  LoadTwoStages(*a, *b, 1, 1, OracleModelPath(), 1);
  LoadTwoStages(*b, *a, 2, 2, OracleModelPath(), 2);
  const auto first = SliceLogits({kPrompt});
  const auto second = SliceLogits({kOther});
  for (int64_t step = 1; step <= 5; ++step) {
    for (const auto& peer : {a, b}) {
      peer->Send(StepMessage(1, step, 0, kPrompt));
      peer->Send(StepMessage(2, step, 0, kOther));
    }
    // Each is the first stage of one and the last of the other, and steps come in one order.
    ASSERT_TRUE(a->NextAnswer()->has_step_result());
    EXPECT_EQ(StepLogits(*a), second[0]);
    EXPECT_EQ(StepLogits(*b), first[0]);
    ASSERT_TRUE(b->NextAnswer()->has_step_result());
  }
}

// A load stops what its own model waits for, and nothing else.
TEST(WorkerResidents, AWaitOfOneModelEndsWithItsOwnEpochOnly) {
  FakeCoordinator coordinator;
  RunningWorker worker(TestWorkerOptions(coordinator));
  const auto peer = coordinator.AwaitPeer(0);
  peer->Send(LoadMessage({.epoch = 1, .stage = 1, .stages = 2, .first_layer = 1, .deployment = 1}));
  ASSERT_EQ(Code(peer->NextLoadResult()), absl::StatusCode::kOk);
  peer->Send(LoadMessage({.epoch = 2, .deployment = 2}));
  ASSERT_EQ(Code(peer->NextLoadResult()), absl::StatusCode::kOk);
  peer->Send(StepMessage(1, 1, 0, kPrompt));  // Its frame never comes.
  peer->Send(StepMessage(2, 1, 0, kPrompt));
  absl::SleepFor(absl::Milliseconds(100));
  const absl::Time began = absl::Now();
  peer->Send(EndEpoch(1));
  ASSERT_TRUE(peer->NextAnswer()->has_step_failure());
  EXPECT_EQ(StepLogits(*peer), SliceLogits({kPrompt})[0]);
  EXPECT_LT(absl::Now() - began, absl::Seconds(5));
}

std::string OracleBytes() {
  std::ifstream file(OracleModelPath(), std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

TEST(WorkerResidents, OthersComputeWhileAModelIsFetched) {
  HttpRangeServer server(OracleBytes());
  absl::Notification gate;
  server.OnRequest([&gate](const RangeRequest& request, RangeAnswer&) {
    if (request.first > 300'000) gate.WaitForNotification();  // Behind the header.
  });
  std::string directory = testing::TempDir() + "barn-residents-XXXXXX";
  ASSERT_NE(mkdtemp(directory.data()), nullptr);
  {
    FakeCoordinator coordinator;
    WorkerOptions options = TestWorkerOptions(coordinator);
    options.cache_dir = directory;
    RunningWorker worker(options);
    const auto peer = coordinator.AwaitPeer(0);
    peer->Send(LoadMessage({.epoch = 1, .deployment = 1}));
    ASSERT_EQ(Code(peer->NextLoadResult()), absl::StatusCode::kOk);
    peer->Send(LoadMessage({.epoch = 2, .model = server.Url(), .deployment = 2}));
    peer->Send(LoadMessage({.epoch = 3, .model = server.Url(), .deployment = 3}));
    for (int64_t step = 1; step <= 3; ++step) {
      peer->Send(StepMessage(1, step, 0, kPrompt));
      EXPECT_EQ(StepLogits(*peer), SliceLogits({kPrompt})[0]);
    }
    peer->Send(Unload(3));  // It never answers.
    gate.Notify();
    const auto loaded = peer->NextLoadResult();
    ASSERT_EQ(Code(loaded), absl::StatusCode::kOk) << loaded->error();
    EXPECT_EQ(loaded->epoch(), 2);
    peer->Send(StepMessage(2, 1, 0, kOther));
    EXPECT_EQ(StepLogits(*peer), SliceLogits({kOther})[0]);
    peer->Send(StepMessage(3, 1, 0, kOther));
    EXPECT_TRUE(Fails(*peer));
  }
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace barn
