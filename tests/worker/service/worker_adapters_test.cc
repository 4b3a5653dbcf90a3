// Adapters on a worker: with a load, while it runs, over epochs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/worker/model/random_adapter.h"
#include "tests/worker/service/worker_fixture.h"

namespace barn {
namespace {

using testing::HasSubstr;

const std::vector<int32_t> kPrompt = {158, 145, 254, 47, 87, 77, 298, 239, 223, 152, 184, 130};

class WorkerAdaptersTest : public testing::Test {
 protected:
  void SetUp() override {
    model_ = LoadOracle("mixtral-f32");
    random_ = MakeAdapter(
        model_, [](const GgufTensor& tensor) { return tensor.name.ends_with(".weight"); }, 4, 8, 3);
    path_ = std::filesystem::path(testing::TempDir()) / testing::UnitTest::GetInstance()->current_test_info()->name();
    std::ofstream(path_, std::ios::binary) << random_.Gguf();
    adapter_ = random_.Read(*model_.header);
  }
  void TearDown() override { std::filesystem::remove(path_); }

  proto::LoadAdapter Wire(int64_t epoch, int64_t id, const std::string& path) const {
    proto::LoadAdapter wire;
    wire.set_epoch(epoch);
    wire.set_adapter_id(id);
    wire.add_parts(path);
    return wire;
  }
  proto::CoordinatorMessage LoadAdapter(int64_t epoch, int64_t id, const std::string& path) const {
    proto::CoordinatorMessage message;
    *message.mutable_load_adapter() = Wire(epoch, id, path);
    return message;
  }
  static proto::CoordinatorMessage UnloadAdapter(int64_t epoch, int64_t id) {
    proto::CoordinatorMessage message;
    message.mutable_unload_adapter()->set_epoch(epoch);
    message.mutable_unload_adapter()->set_adapter_id(id);
    return message;
  }
  static proto::CoordinatorMessage StepWith(int64_t epoch, int64_t step_id, int64_t adapter, float scale = 1) {
    proto::CoordinatorMessage message = StepMessage(epoch, step_id, 0, kPrompt);
    proto::StepSequence& sequence = *message.mutable_step()->mutable_sequences(0);
    sequence.set_block_offset(0);
    proto::AdapterUse& use = *sequence.add_adapters();
    use.set_adapter_id(adapter);
    use.set_scale(scale);
    return message;
  }
  static std::vector<float> Logits(const std::optional<proto::WorkerMessage>& answer) {
    if (!answer || !answer->has_step_result()) {
      ADD_FAILURE() << (answer ? answer->ShortDebugString() : "no answer");
      return {};
    }
    return FullLogits(answer->step_result().sequences(0));
  }

  OracleModel model_;
  RandomAdapter random_;
  std::unique_ptr<Adapter> adapter_;
  std::filesystem::path path_;
};

TEST_F(WorkerAdaptersTest, ComesWhileStepsRunAndGoesAgain) {
  const std::vector<float> base = SliceLogits({kPrompt})[0];
  const std::vector<float> adapted = SliceLogits({kPrompt}, adapter_.get(), 0.5f)[0];
  ASSERT_NE(base, adapted);
  FakeCoordinator coordinator;
  RunningWorker worker(TestWorkerOptions(coordinator));
  const auto peer = coordinator.AwaitPeer(0);
  peer->Send(LoadMessage({}));
  ASSERT_EQ(peer->NextLoadResult()->code(), 0);
  peer->Send(LoadAdapter(1, 7, path_));
  const auto result = peer->NextAdapterResult();
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->code(), 0) << result->error();
  EXPECT_EQ(result->adapter_id(), 7);
  EXPECT_EQ(result->epoch(), 1);
  peer->Send(StepMessage(1, 1, 0, kPrompt));
  EXPECT_EQ(Logits(peer->NextAnswer()), base);
  peer->Send(StepWith(1, 2, 7, 0.5f));
  EXPECT_EQ(Logits(peer->NextAnswer()), adapted);
  peer->Send(LoadAdapter(1, 7, path_));
  EXPECT_EQ(peer->NextAdapterResult()->code(), static_cast<int>(absl::StatusCode::kAlreadyExists));
  peer->Send(StepWith(1, 3, 7, 0.5f));
  EXPECT_EQ(Logits(peer->NextAnswer()), adapted) << "and it is still there";
  peer->Send(UnloadAdapter(1, 7));
  peer->Send(UnloadAdapter(1, 8));
  peer->Send(StepWith(1, 4, 7, 0.5f));
  const auto failed = peer->NextAnswer();
  ASSERT_TRUE(failed && failed->has_step_failure());
  EXPECT_THAT(failed->step_failure().error(), HasSubstr("adapter 7 is not loaded"));
}

TEST_F(WorkerAdaptersTest, ComesWithALoadAndStaysWithItsSlice) {
  const std::vector<float> adapted = SliceLogits({kPrompt}, adapter_.get())[0];
  FakeCoordinator coordinator;
  RunningWorker worker(TestWorkerOptions(coordinator));
  const auto peer = coordinator.AwaitPeer(0);
  for (int64_t epoch = 1; epoch <= 2; ++epoch) {  // The second time slice and adapter are there already.
    proto::CoordinatorMessage load = LoadMessage({.epoch = epoch});
    *load.mutable_load()->add_adapters() = Wire(epoch, 7, path_);
    *load.mutable_load()->add_adapters() = Wire(epoch, 8, "/nowhere/at/all.gguf");
    peer->Send(load);
    const auto first = peer->NextAdapterResult(), second = peer->NextAdapterResult();
    ASSERT_TRUE(first && second);
    EXPECT_EQ(first->code(), 0) << first->error();
    EXPECT_NE(second->code(), 0);
    EXPECT_THAT(second->error(), HasSubstr("/nowhere/at/all.gguf"));
    ASSERT_EQ(peer->NextLoadResult()->code(), 0) << "one adapter's fault is not the model's";
    peer->Send(StepWith(epoch, 1, 7));
    EXPECT_EQ(Logits(peer->NextAnswer()), adapted);
  }
  // Another file under the number that a coordinator before had given.
  random_ = MakeAdapter(
      model_, [](const GgufTensor& tensor) { return tensor.name.ends_with("attn_q.weight"); }, 2, 8, 4);
  const std::filesystem::path other = path_.string() + ".other";
  std::ofstream(other, std::ios::binary) << random_.Gguf();
  proto::CoordinatorMessage load = LoadMessage({.epoch = 3});
  *load.mutable_load()->add_adapters() = Wire(3, 7, other);
  peer->Send(load);
  EXPECT_EQ(peer->NextAdapterResult()->code(), 0);
  peer->NextLoadResult();
  peer->Send(StepWith(3, 1, 7));
  EXPECT_EQ(Logits(peer->NextAnswer()), SliceLogits({kPrompt}, random_.Read(*model_.header).get())[0]);
  std::filesystem::remove(other);
  // And none.
  peer->Send(LoadMessage({.epoch = 4}));
  peer->NextLoadResult();
  peer->Send(StepWith(4, 1, 7));
  const auto failed = peer->NextAnswer();
  EXPECT_TRUE(failed && failed->has_step_failure());
}

TEST_F(WorkerAdaptersTest, RefusesWhatDoesNotFitAndServesOn) {
  FakeCoordinator coordinator;
  RunningWorker worker(TestWorkerOptions(coordinator));
  const auto peer = coordinator.AwaitPeer(0);
  peer->Send(LoadMessage({}));
  ASSERT_EQ(peer->NextLoadResult()->code(), 0);
  peer->Send(LoadAdapter(1, 7, OracleModelPath()));
  EXPECT_THAT(peer->NextAdapterResult()->error(), HasSubstr("general.type"));
  peer->Send(LoadAdapter(1, 0, path_));
  EXPECT_NE(peer->NextAdapterResult()->code(), 0);
  peer->Send(LoadAdapter(99, 9, path_));  // Of an epoch that is none: void.
  proto::CoordinatorMessage step = StepWith(1, 1, 7, NAN);
  peer->Send(step);
  const auto failed = peer->NextAnswer();
  ASSERT_TRUE(failed && failed->has_step_failure());
  EXPECT_THAT(failed->step_failure().error(), HasSubstr("is no number"));
  peer->Send(LoadAdapter(1, 10, path_));
  EXPECT_EQ(peer->NextAdapterResult()->adapter_id(), 10);
}

// Two stages: each has its layers' part, and the pipeline gives the bits of one.
TEST_F(WorkerAdaptersTest, EachStageHasItsPart) {
  FakeCoordinator coordinator;
  RunningWorker one(TestWorkerOptions(coordinator));
  const auto first = coordinator.AwaitPeer(0);
  RunningWorker two(TestWorkerOptions(coordinator));
  const auto last = coordinator.AwaitPeer(1);
  LoadTwoStages(*first, *last, 1, 1);
  for (const auto& peer : {first, last}) {
    peer->Send(LoadAdapter(1, 7, path_));
    EXPECT_EQ(peer->NextAdapterResult()->code(), 0);
  }
  for (const auto& peer : {first, last}) peer->Send(StepWith(1, 1, 7, -1.5f));
  EXPECT_EQ(Logits(last->NextAnswer()), SliceLogits({kPrompt}, adapter_.get(), -1.5f)[0]);
}

// Two models side by side, each with its own adapters, under numbers that may be the same.
TEST_F(WorkerAdaptersTest, EachModelHasItsOwn) {
  const std::vector<float> base = SliceLogits({kPrompt})[0];
  FakeCoordinator coordinator;
  RunningWorker worker(TestWorkerOptions(coordinator));
  const auto peer = coordinator.AwaitPeer(0);
  for (const int64_t epoch : {1, 2}) {
    peer->Send(LoadMessage({.epoch = epoch, .deployment = epoch}));
    ASSERT_EQ(peer->NextLoadResult()->code(), 0);
  }
  peer->Send(LoadAdapter(2, 7, path_));
  EXPECT_EQ(peer->NextAdapterResult()->code(), 0);
  peer->Send(StepWith(1, 1, 7));
  const auto failed = peer->NextAnswer();
  ASSERT_TRUE(failed && failed->has_step_failure());
  EXPECT_THAT(failed->step_failure().error(), HasSubstr("adapter 7 is not loaded"));
  // A new epoch of the first takes nothing from the second.
  peer->Send(LoadMessage({.epoch = 3, .deployment = 1}));
  ASSERT_EQ(peer->NextLoadResult()->code(), 0);
  peer->Send(UnloadAdapter(3, 7));
  peer->Send(StepMessage(3, 1, 0, kPrompt));
  EXPECT_EQ(Logits(peer->NextAnswer()), base);
  peer->Send(StepWith(2, 1, 7));
  EXPECT_EQ(Logits(peer->NextAnswer()), SliceLogits({kPrompt}, adapter_.get())[0]);
}

}  // namespace
}  // namespace barn
