#include "coordinator/scheduler/deployment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/cluster/sim_cluster.h"

namespace barn {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr absl::Time kStart = absl::UnixEpoch();

class DeploymentTest : public ::testing::Test {
 protected:
  void Join(int64_t id, const std::string& name) {
    proto::Hello hello;
    hello.set_version("test");
    hello.set_name(name);
    hello.set_memory_bytes(100);
    hello.set_threads(1);
    hello.set_exchange_address(absl::StrCat(name, ":1"));
    ASSERT_TRUE(members_.Join(kStart, id, hello, "test").ok());
    deployment_.MembershipChanged();
  }
  bool Begin(absl::Time now = kStart) {
    sends_.clear();
    return deployment_.TryBegin(now, members_, sends_);
  }
  absl::Status Loaded(int64_t id, absl::StatusCode code = absl::StatusCode::kOk) {
    proto::LoadResult result;
    result.set_epoch(deployment_.epoch());
    result.set_code(static_cast<int>(code));
    result.set_error("no space");
    return deployment_.OnLoadResult(kStart, result, *members_.Find(id), members_);
  }

  CoreOptions options_ = TestCoreOptions(2);
  size_t nodes_needed_ = 1;
  Members members_;
  std::vector<SendToWorker> sends_;
  Deployment deployment_{options_, [this](std::span<const PlanNode> nodes) -> absl::StatusOr<ShardPlan> {
                           if (nodes.size() < nodes_needed_) return absl::ResourceExhaustedError("5 bytes short");
                           return EvenPlanner(10, 4)(nodes);
                         }};
};

TEST_F(DeploymentTest, WaitsThenLoadsInTheOrderOfNames) {
  Join(1, "b");
  EXPECT_FALSE(Begin());
  EXPECT_EQ(deployment_.Reason(members_), "waiting for 1 of 2 workers");
  Join(2, "a");
  ASSERT_TRUE(Begin());
  EXPECT_THAT(deployment_.stage_workers(), ElementsAre(2, 1));
  ASSERT_EQ(sends_.size(), 2u);
  const proto::LoadRequest& first = sends_[0].message->load();
  const proto::LoadRequest& last = sends_[1].message->load();
  EXPECT_EQ(sends_[0].worker_id, 2);
  EXPECT_EQ(first.epoch(), 1);
  EXPECT_EQ(first.parts(0), "model.gguf");
  EXPECT_EQ(first.next_exchange_address(), "b:1");
  EXPECT_EQ(first.exchange_token(), "secret");
  EXPECT_EQ(first.kv_type(), "f16");
  EXPECT_EQ(first.context_tokens(), 40);
  EXPECT_EQ(first.stages(), 2);
  EXPECT_EQ(last.stage(), 1);
  EXPECT_EQ(last.first_layer(), 2);
  EXPECT_EQ(last.next_exchange_address(), "");
}

TEST_F(DeploymentTest, RanksOfAStageLearnOfOneAnother) {
  Deployment shared(options_, RanksPlanner(10, 4));
  Join(1, "b");
  Join(2, "a");
  members_.Find(1)->hello.set_rank_address("old");
  members_.Find(2)->hello.set_rank_address("address of a");
  proto::Heartbeat beat;
  beat.set_rank_address("address of b");
  ASSERT_TRUE(Members::OnHeartbeat(beat, *members_.Find(1)).ok());
  ASSERT_TRUE(shared.TryBegin(kStart, members_, sends_));
  EXPECT_EQ(shared.stages(), 1);
  EXPECT_THAT(shared.stage_workers(), ElementsAre(2, 1));
  ASSERT_EQ(sends_.size(), 2u);
  for (int rank = 0; rank < 2; ++rank) {
    const proto::LoadRequest& load = sends_[rank].message->load();
    EXPECT_EQ(load.rank(), rank);
    EXPECT_EQ(load.ranks(), 2);
    EXPECT_EQ(load.stage(), 0);
    EXPECT_EQ(load.stages(), 1);
    EXPECT_EQ(load.first_layer(), 0);
    EXPECT_EQ(load.last_layer(), 4);
    EXPECT_THAT(load.rank_addresses(), ElementsAre("address of a", "address of b"));
    EXPECT_EQ(load.next_exchange_address(), "");
  }
  EXPECT_EQ(members_.Find(1)->rank, 1);
  beat.set_rank_address(std::string(5000, 'x'));
  EXPECT_TRUE(absl::IsInvalidArgument(Members::OnHeartbeat(beat, *members_.Find(1))));
}

TEST_F(DeploymentTest, IsReadyWhenAllHaveLoadedAndShowsProgress) {
  Join(1, "a");
  Join(2, "b");
  ASSERT_TRUE(Begin());
  proto::LoadProgress progress;
  progress.set_bytes_done(820);
  progress.set_bytes_total(1000);
  EXPECT_TRUE(deployment_.OnLoadProgress(kStart, progress, *members_.Find(1)).ok());
  EXPECT_EQ(deployment_.Reason(members_), "loading 41 %");
  progress.set_bytes_done(1001);
  EXPECT_EQ(deployment_.OnLoadProgress(kStart, progress, *members_.Find(1)).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(Loaded(1).ok());
  EXPECT_FALSE(deployment_.ready());
  EXPECT_EQ(Loaded(1).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(Loaded(2).ok());
  EXPECT_TRUE(deployment_.ready());
  EXPECT_EQ(deployment_.Reason(members_), "");
}

TEST_F(DeploymentTest, ARefusedPlanIsTriedAgainWhenAnotherWorkerJoins) {
  nodes_needed_ = 3;
  Join(1, "a");
  Join(2, "b");
  EXPECT_FALSE(Begin());
  EXPECT_EQ(deployment_.phase(), Deployment::Phase::kRefused);
  EXPECT_EQ(deployment_.Reason(members_), "5 bytes short");
  EXPECT_EQ(deployment_.refusal().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_FALSE(Begin(kStart + absl::Hours(1)));
  Join(3, "c");
  EXPECT_TRUE(Begin());
  EXPECT_EQ(deployment_.stages(), 3);
}

TEST_F(DeploymentTest, ALoadThatFailsForAPassingReasonIsTriedAgainLater) {
  Join(1, "a");
  Join(2, "b");
  ASSERT_TRUE(Begin());
  EXPECT_TRUE(Loaded(2, absl::StatusCode::kUnavailable).ok());
  EXPECT_TRUE(Loaded(1).ok()) << "the other worker did nothing wrong";
  EXPECT_THAT(deployment_.Reason(members_), HasSubstr("worker 2 'b' could not load layers 2 to 4: no space"));
  EXPECT_TRUE(deployment_.refusal().ok());
  EXPECT_FALSE(Begin(kStart + absl::Seconds(4)));
  EXPECT_TRUE(Begin(kStart + absl::Seconds(5)));
  EXPECT_EQ(deployment_.epoch(), 2);
}

TEST_F(DeploymentTest, ALoadThatFailsForGoodWaitsForAnotherCluster) {
  Join(1, "a");
  Join(2, "b");
  ASSERT_TRUE(Begin());
  EXPECT_TRUE(Loaded(2, absl::StatusCode::kDataLoss).ok());
  EXPECT_EQ(deployment_.refusal().code(), absl::StatusCode::kDataLoss);
  EXPECT_FALSE(Begin(kStart + absl::Hours(1)));
  deployment_.MembershipChanged();
  EXPECT_TRUE(Begin());
}

TEST_F(DeploymentTest, AWorkerThatIsNoLongerNeededIsToldToUnload) {
  nodes_needed_ = 3;
  for (int id = 1; id <= 3; ++id) Join(id, absl::StrCat("w", id));
  ASSERT_TRUE(Begin());
  ASSERT_EQ(deployment_.stages(), 3);
  deployment_.Abandon("test", members_);
  nodes_needed_ = 2;
  ASSERT_TRUE(Begin());
  EXPECT_THAT(deployment_.stage_workers(), ElementsAre(1, 2));
  EXPECT_EQ(members_.Find(3)->stage, -1);
  ASSERT_EQ(sends_.size(), 3u);
  EXPECT_EQ(sends_[0].worker_id, 3);
  EXPECT_EQ(sends_[0].message->unload().epoch(), 1);
}

TEST_F(DeploymentTest, APlanThatContradictsItselfIsRefused) {
  Deployment broken(options_, [](std::span<const PlanNode> nodes) -> absl::StatusOr<ShardPlan> {
    ShardPlan plan = *EvenPlanner(10, 4)(nodes);
    plan.stages[1].ranks[0].node = 0;
    return plan;
  });
  Join(1, "a");
  Join(2, "b");
  EXPECT_FALSE(broken.TryBegin(kStart, members_, sends_));
  EXPECT_EQ(broken.refusal().code(), absl::StatusCode::kInternal);
}

// Beside other models: what they leave is what there is, perhaps on one worker alone.
TEST_F(DeploymentTest, OtherModelsTakeMemory) {
  Deployment needs_half{options_, [](std::span<const PlanNode> nodes) -> absl::StatusOr<ShardPlan> {
                          for (const PlanNode& node : nodes) {
                            if (node.memory_bytes < 50) return absl::ResourceExhaustedError("too little");
                          }
                          ShardPlan plan = *EvenPlanner(10, 4)(nodes);
                          for (PlanStage& stage : plan.stages) stage.ranks[0].weights_bytes = 40;
                          return plan;
                        }};
  Join(1, "a");
  Join(2, "b");
  EXPECT_TRUE(needs_half.Fits(members_, {}).ok());
  EXPECT_TRUE(needs_half.Fits(members_, {{1, {.bytes = 80}}}).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(needs_half.Fits(members_, {{1, {.bytes = 80}}, {2, {.bytes = 60}}})));
  EXPECT_TRUE(absl::IsResourceExhausted(needs_half.Fits(members_, {{1, {.bytes = 100}}, {2, {.bytes = 200}}})));
  needs_half.SetMemoryTaken({{1, {.bytes = 80}}});
  ASSERT_TRUE(needs_half.TryBegin(kStart, members_, sends_));
  EXPECT_THAT(needs_half.stage_workers(), ElementsAre(2));
  EXPECT_EQ(needs_half.MemoryUse(), (MemoryByWorker{{2, {.bytes = 40}}}));
  sends_.clear();
  needs_half.Unload(members_, sends_);
  ASSERT_EQ(sends_.size(), 1u);
  EXPECT_EQ(sends_[0].worker_id, 2);
  EXPECT_EQ(sends_[0].message->unload().epoch(), 1);
  EXPECT_TRUE(needs_half.MemoryUse().empty());
  EXPECT_EQ(needs_half.Reason(members_), "not loaded");
  EXPECT_FALSE(needs_half.TryBegin(kStart, members_, sends_));
  needs_half.SetWanted(true);
  EXPECT_TRUE(needs_half.TryBegin(kStart, members_, sends_));
}

}  // namespace
}  // namespace barn
