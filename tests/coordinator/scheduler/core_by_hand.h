#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "coordinator/scheduler/core.h"
#include "tests/cluster/fake_stage.h"
#include "tests/cluster/sim_cluster.h"

namespace barn {

// A core that is stepped by hand. Workers answer only when told to.
class CoreTest : public ::testing::Test {
 protected:
  Actions Step(std::vector<Event> events = {}, absl::Duration later = absl::ZeroDuration()) {
    now_ += later;
    Actions actions = core_->Step(now_, events);
    const absl::Status status = core_->CheckInvariants();
    EXPECT_TRUE(status.ok()) << status;
    for (const SendToWorker& send : actions.sends) sent_[send.worker_id].push_back(send.message);
    for (const RequestUpdate& update : actions.updates) {
      RequestUpdate& all = replies_[update.request_id];
      EXPECT_EQ(all.finish, FinishReason::kNone) << "an update after the last";
      all.tokens.insert(all.tokens.end(), update.tokens.begin(), update.tokens.end());
      all.prompt_scores.insert(all.prompt_scores.end(), update.prompt_scores.begin(), update.prompt_scores.end());
      all.embedding.insert(all.embedding.end(), update.embedding.begin(), update.embedding.end());
      all.finish = update.finish;
      all.status = update.status;
    }
    return actions;
  }

  static WorkerJoined Join(int64_t id) {
    WorkerJoined event{.worker_id = id, .hello = {}};
    event.hello.set_version("test");
    event.hello.set_name(absl::StrCat("w", id));
    event.hello.set_memory_bytes(1000);
    event.hello.set_threads(1);
    event.hello.set_exchange_address("host:1");
    return event;
  }
  static WorkerSaid Beat(int64_t id) {
    WorkerSaid event{.worker_id = id, .message = {}};
    event.message.mutable_heartbeat();
    return event;
  }
  // Takes the oldest message to a worker.
  std::shared_ptr<const proto::CoordinatorMessage> Take(int64_t id) {
    if (sent_[id].empty()) return nullptr;
    auto message = sent_[id].front();
    sent_[id].pop_front();
    return message;
  }
  void TakeLoad(int64_t id) {
    auto message = Take(id);
    while (message != nullptr && !message->has_load()) message = Take(id);
    ASSERT_NE(message, nullptr);
    stages_.erase(id);
    stages_.emplace(id, FakeStage(model_, message->load()));
  }
  static WorkerSaid LoadDone(int64_t id, int64_t epoch) {
    WorkerSaid event{.worker_id = id, .message = {}};
    event.message.mutable_load_result()->set_epoch(epoch);
    return event;
  }
  // What the worker answers to its oldest step.
  WorkerSaid Compute(int64_t id) {
    WorkerSaid event{.worker_id = id, .message = {}};
    const auto message = Take(id);
    FakeStage& stage = stages_.at(id);
    EXPECT_TRUE(message != nullptr && message->has_step());
    FakeStage::Output output = stage.Run(message->step(), activations_[stage.load().stage() - 1]);
    activations_[stage.load().stage()] = output.rows;
    EXPECT_THAT(stage.errors(), ::testing::IsEmpty());
    *event.message.mutable_step_result() = output.result;
    return event;
  }

  void MakeReady(int workers, bool ranks = false) {
    options_.workers_expected = workers;
    core_ = std::make_unique<Core>(options_, [this, ranks](std::span<const PlanNode> nodes) {
      return (ranks ? RanksPlanner : EvenPlanner)(kv_blocks_, 4)(nodes);
    });
    for (int id = 1; id <= workers; ++id) Step({Join(id)});
    for (int id = 1; id <= workers; ++id) TakeLoad(id);
    for (int id = 1; id <= workers; ++id) Step({LoadDone(id, 1)});
    ASSERT_TRUE(core_->ready());
  }
  static GenerateRequest Request(std::vector<int32_t> prompt, int64_t max_tokens) {
    GenerateRequest request;
    request.prompt = std::move(prompt);
    request.max_tokens = max_tokens;
    request.ignore_end = true;
    request.sampling.temperature = 0;
    return request;
  }
  absl::Status Submit(int64_t id, GenerateRequest request) {
    const Actions actions = Step({RequestSubmitted{.request_id = id, .request = std::move(request)}});
    EXPECT_THAT(actions.verdicts, ::testing::SizeIs(1));
    return actions.verdicts[0].status;
  }
  static std::vector<int32_t> Ids(const RequestUpdate& update) {
    std::vector<int32_t> ids;
    for (const GeneratedToken& token : update.tokens) ids.push_back(token.id);
    return ids;
  }

  const FakeModel model_;
  int64_t kv_blocks_ = 100;
  CoreOptions options_ = TestCoreOptions(1);
  std::unique_ptr<Core> core_ = std::make_unique<Core>(options_, EvenPlanner(kv_blocks_, 4));
  absl::Time now_ = absl::UnixEpoch();
  std::map<int64_t, std::deque<std::shared_ptr<const proto::CoordinatorMessage>>> sent_;
  std::map<int64_t, FakeStage> stages_;
  std::map<int, std::vector<uint64_t>> activations_;  // By stage: the rows that it sent last.
  std::map<int64_t, RequestUpdate> replies_;
};

}  // namespace barn
