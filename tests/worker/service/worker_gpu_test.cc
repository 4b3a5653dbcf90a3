#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/devices.h"
#include "sharding/rank_link.h"
#include "tests/worker/service/worker_fixture.h"

// Workers with a simulated GPU over the real wire. The model is F32 throughout, so that a logit differs from the CPU's
// by the order of sums only: 1e-3 is what oracles/arch asks of such a run.

namespace barn {
namespace {

constexpr float kTolerance = 1e-3f;
constexpr int64_t kGpuBytes = int64_t{32} << 20;
const std::vector<int32_t> kPrompt = {1, 70, 258, 33, 9, 199, 300, 41, 7, 120, 66, 250};

WorkerOptions OnDevice(const FakeCoordinator& coordinator, const std::string& name, int64_t memory_bytes = kGpuBytes) {
  WorkerOptions options = TestWorkerOptions(coordinator);
  options.memory_bytes = 0;
  options.make_device = [=] {
    return CreateDevice({.name = name, .threads = 1, .pin = false, .memory_bytes = memory_bytes});
  };
  return options;
}

std::string Failure(const std::optional<proto::WorkerMessage>& answer) {
  return answer.has_value() ? answer->step_failure().error() : "no answer";
}

int32_t Best(const std::vector<float>& logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

// The prompt in two pieces, then three tokens, each the best of the step before: on the CPU in this process.
struct Expected {
  std::vector<std::vector<int32_t>> chunks;
  std::vector<std::vector<float>> logits;  // Of the last row of each chunk.
};

Expected ExpectedAnswers() {
  Expected expected;
  expected.chunks = {{kPrompt.begin(), kPrompt.begin() + 7}, {kPrompt.begin() + 7, kPrompt.end()}};
  for (int i = 0; i < 3; ++i) {
    expected.logits = SliceLogits(expected.chunks);
    expected.chunks.push_back({Best(expected.logits.back())});
  }
  expected.logits = SliceLogits(expected.chunks);
  return expected;
}

void ExpectNear(const proto::SequenceResult& result, const std::vector<float>& want) {
  const std::vector<float> got = FullLogits(result);
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(got[i], want[i], kTolerance) << "entry " << i;
  ASSERT_EQ(result.candidate_ids_size(), 5);
  EXPECT_EQ(result.candidate_ids(0), Best(want));
  for (int i = 0; i < 5; ++i) EXPECT_EQ(result.candidate_logits(i), got[static_cast<size_t>(result.candidate_ids(i))]);
}

// Sends every step to each of the peers, the last of which gives the logits.
void ExpectAnswers(const std::vector<FakeCoordinator::Peer*>& peers, int64_t epoch) {
  const Expected expected = ExpectedAnswers();
  int64_t position = 0;
  for (size_t i = 0; i < expected.chunks.size(); ++i) {
    const auto message = StepMessage(epoch, static_cast<int64_t>(i) + 1, position, expected.chunks[i]);
    for (FakeCoordinator::Peer* peer : peers) peer->Send(message);
    position += static_cast<int64_t>(expected.chunks[i].size());
  }
  for (size_t i = 0; i < expected.chunks.size(); ++i) {
    SCOPED_TRACE(testing::Message() << "step " << i);
    std::optional<proto::WorkerMessage> answer;
    for (FakeCoordinator::Peer* peer : peers) {
      answer = peer->NextAnswer();
      ASSERT_TRUE(answer && answer->has_step_result()) << Failure(answer);
    }
    ASSERT_EQ(answer->step_result().sequences_size(), 1);
    ExpectNear(answer->step_result().sequences(0), expected.logits[i]);
  }
}

TEST(WorkerGpu, AnswersAsTheCpu) {
  FakeCoordinator coordinator;
  RunningWorker worker(OnDevice(coordinator, "simt:0"));
  const auto peer = coordinator.AwaitPeer(0);
  ASSERT_TRUE(peer);
  EXPECT_EQ(peer->hello().device(), "simt:0 simulated, 32 MiB");
  EXPECT_EQ(peer->hello().memory_bytes(), kGpuBytes * 97 / 100);
  const RankLink link = ParseRankLink(peer->hello().rank_address());
  EXPECT_EQ(link.missing, "NCCL: none for simt:0 simulated, 32 MiB; BARN_NCCL names one");
  EXPECT_EQ(link.device, "simt:0");
  peer->Send(LoadMessage({}));
  const auto loaded = peer->NextLoadResult();
  ASSERT_TRUE(loaded && loaded->code() == 0) << loaded->error();
  ExpectAnswers({peer.get()}, 1);
}

TEST(WorkerGpu, FormsPipelinesWithGpusAndCpus) {
  const std::vector<std::vector<std::string>> pairs = {{"simt:0", "simt:1"}, {"cpu", "simt:0"}, {"simt:0", "cpu"}};
  for (const std::vector<std::string>& devices : pairs) {
    SCOPED_TRACE(devices[0] + ", " + devices[1]);
    FakeCoordinator coordinator;
    RunningWorker worker_a(OnDevice(coordinator, devices[0]));
    const auto first = coordinator.AwaitPeer(0);
    RunningWorker worker_b(OnDevice(coordinator, devices[1]));
    const auto last = coordinator.AwaitPeer(1);
    ASSERT_TRUE(first && last);
    ASSERT_NO_FATAL_FAILURE(LoadTwoStages(*first, *last, 1, 2));
    ASSERT_NO_FATAL_FAILURE(ExpectAnswers({first.get(), last.get()}, 1));
  }
}

TEST(WorkerGpu, ComputesExpertsWithItsHost) {
  FakeCoordinator coordinator;
  WorkerOptions options = OnDevice(coordinator, "simt:0");
  options.host_memory_bytes = kGpuBytes;
  RunningWorker worker(options);
  const auto peer = coordinator.AwaitPeer(0);
  ASSERT_TRUE(peer);
  EXPECT_EQ(peer->hello().host_memory_bytes(), kGpuBytes);
  int64_t epoch = 0;
  for (const int64_t layers : {int64_t{1}, kOracleLayers, int64_t{0}}) {
    SCOPED_TRACE(layers);
    proto::CoordinatorMessage message = LoadMessage({.epoch = ++epoch});
    message.mutable_load()->set_host_expert_layers(layers);
    peer->Send(message);
    const auto loaded = peer->NextLoadResult();
    ASSERT_TRUE(loaded && loaded->code() == 0) << loaded->error();
    ASSERT_NO_FATAL_FAILURE(ExpectAnswers({peer.get()}, epoch));
  }
}

TEST(WorkerGpu, RefusesExpertsThatItsHostCannotHold) {
  const auto refusal = [](const std::string& device, int64_t host_memory_bytes, int64_t layers) {
    FakeCoordinator coordinator;
    WorkerOptions options = OnDevice(coordinator, device);
    options.host_memory_bytes = host_memory_bytes;
    RunningWorker worker(options);
    const auto peer = coordinator.AwaitPeer(0);
    proto::CoordinatorMessage message = LoadMessage({});
    message.mutable_load()->set_host_expert_layers(layers);
    peer->Send(message);
    const auto loaded = peer->NextLoadResult();
    return loaded ? loaded->error() : "no answer";
  };
  EXPECT_EQ(refusal("simt:0", 1 << 20, 4), "load: host_expert_layers is 4, allowed are 0 to 3");
  EXPECT_EQ(refusal("simt:0", 1000, 2),
            "experts of 2 layers need 589824 bytes of the host's memory, this worker offers 1000");
  EXPECT_EQ(refusal("cpu", 1 << 20, 2),
            "experts of 2 layers need 589824 bytes of the host's memory, this worker offers 0");
}

TEST(WorkerGpu, RefusesWhatItCannotGive) {
  FakeCoordinator coordinator;
  RunningWorker worker(OnDevice(coordinator, "simt:0"));
  const auto peer = coordinator.AwaitPeer(0);
  ASSERT_TRUE(peer);
  proto::CoordinatorMessage message = LoadMessage({});
  message.mutable_load()->set_deterministic(true);
  peer->Send(message);
  auto loaded = peer->NextLoadResult();
  ASSERT_TRUE(loaded);
  EXPECT_EQ(loaded->code(), static_cast<int>(absl::StatusCode::kFailedPrecondition));
  EXPECT_EQ(loaded->error(),
            "load: results of simt:0 simulated, 32 MiB depend on the batch; leave --deterministic out or this worker");
  message = LoadMessage({});
  message.mutable_load()->set_kv_blocks(100'000);
  peer->Send(message);
  loaded = peer->NextLoadResult();
  ASSERT_TRUE(loaded);
  EXPECT_EQ(loaded->code(), static_cast<int>(absl::StatusCode::kResourceExhausted));
  peer->Send(LoadMessage({}));
  loaded = peer->NextLoadResult();
  ASSERT_TRUE(loaded && loaded->code() == 0) << loaded->error();
  ExpectAnswers({peer.get()}, 1);
}

// Nothing on a device can be trusted after an error, so the worker says what happened and ends: whoever started it
// starts another.
TEST(WorkerGpu, ADeviceThatFailsEndsTheWorker) {
  FakeCoordinator coordinator;
  WorkerOptions options = OnDevice(coordinator, "simt:0");
  Device* device = nullptr;
  options.make_device = [&device, make = options.make_device] {
    auto made = make();
    device = made->device.get();
    return made;
  };
  RunningWorker worker(options);
  const auto peer = coordinator.AwaitPeer(0);
  ASSERT_TRUE(peer);
  peer->Send(LoadMessage({}));
  const auto loaded = peer->NextLoadResult();
  ASSERT_TRUE(loaded && loaded->code() == 0) << loaded->error();
  // Weights and cache have their place; what a step needs beside them finds none.
  std::vector<std::unique_ptr<Buffer>> rest;
  for (int64_t floats = 1 << 20; floats > 0; floats /= 2) {
    for (auto buffer = device->Allocate(floats); buffer.ok(); buffer = device->Allocate(floats)) {
      rest.push_back(*std::move(buffer));
    }
  }
  peer->Send(StepMessage(1, 1, 0, kPrompt));
  const auto answer = peer->NextAnswer();
  EXPECT_NE(Failure(answer).find("device memory: "), std::string::npos) << Failure(answer);
  EXPECT_EQ(answer->step_failure().code(), static_cast<int>(absl::StatusCode::kResourceExhausted));
  EXPECT_TRUE(peer->AwaitEnd());
  rest.clear();
  const absl::Status end = worker.AwaitEnd();
  EXPECT_NE(end.message().find("device memory: "), std::string::npos) << end;
}

}  // namespace
}  // namespace barn
