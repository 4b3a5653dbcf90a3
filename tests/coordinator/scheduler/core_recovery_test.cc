// What ends a request and what does not: losses, time limits, full queues.
#include "tests/coordinator/scheduler/core_by_hand.h"

namespace barn {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST_F(CoreTest, AFullQueueRefuses) {
  kv_blocks_ = 4;
  options_.waiting_max = 2;
  options_.running_max = 1;
  MakeReady(1);
  for (int id = 1; id <= 3; ++id) EXPECT_TRUE(Submit(id, Request({1}, 15)).ok());
  const absl::Status status = Submit(4, Request({1}, 15));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("2 requests wait"));
  EXPECT_TRUE(status.GetPayload(kRetryAfterPayload).has_value());
  EXPECT_FALSE(status.GetPayload(kTenantLimitPayload).has_value());
  EXPECT_EQ(Submit(5, Request({1}, 16)).code(), absl::StatusCode::kInvalidArgument) << "beyond the KV capacity of 16";
  EXPECT_EQ(core_->State().running, 1);
  EXPECT_EQ(core_->State().waiting, 2);
}

TEST_F(CoreTest, ATenantFillsOnlyItsPartOfTheQueue) {
  options_.running_max = 1;
  options_.waiting_max = 5;
  options_.tenant_waiting_max = 2;
  MakeReady(1);
  GenerateRequest greedy = Request({1}, 15), modest = greedy;
  greedy.tenant.name = "greedy";
  modest.tenant.name = "modest";
  for (int id = 1; id <= 3; ++id) EXPECT_TRUE(Submit(id, greedy).ok());
  const absl::Status status = Submit(4, greedy);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(status.GetPayload(kTenantLimitPayload).has_value());
  EXPECT_THAT(std::string(status.message()), HasSubstr("2 of your requests wait"));
  EXPECT_TRUE(Submit(5, modest).ok());
  for (int id = 6; id <= 7; ++id) EXPECT_TRUE(Submit(id, Request({1}, 15)).ok()) << "nobody in particular";
  EXPECT_FALSE(Submit(8, modest).GetPayload(kTenantLimitPayload).has_value()) << "the queue is full for all";
}

TEST_F(CoreTest, AfterALossRequestsGoOnInTheNextEpoch) {
  MakeReady(2);
  GenerateRequest scored = Request({1, 5, 6}, 3);
  scored.score_from = 0;
  ASSERT_TRUE(Submit(1, scored).ok());
  Step({Compute(1)});
  Step({Compute(2)});
  ASSERT_THAT(replies_[1].tokens, SizeIs(1));
  ASSERT_THAT(replies_[1].prompt_scores, SizeIs(2));
  const WorkerSaid late = Compute(1);
  EXPECT_THAT(Step({WorkerLost{2, "reset by peer"}}).updates, IsEmpty());
  EXPECT_THAT(core_->State().reason, HasSubstr("waiting for 1 of 2 workers; before that: worker 2 'w2' was lost"));
  EXPECT_EQ(core_->State().waiting, 1);
  EXPECT_EQ(Submit(2, Request({1}, 1)).code(), absl::StatusCode::kUnavailable);
  sent_.clear();
  Step({Join(3)});
  EXPECT_THAT(Step({late}).disconnects, IsEmpty()) << "words of an old epoch are void";
  TakeLoad(1);
  TakeLoad(3);
  Step({LoadDone(1, 2)});
  Step({LoadDone(3, 2)});
  ASSERT_TRUE(core_->ready());
  EXPECT_EQ(core_->State().requests_recovered_total, 1);
  EXPECT_THAT(sent_[1].front()->step().sequences(0).tokens(), SizeIs(4));
  EXPECT_THAT(sent_[1].front()->step().sequences(0).targets(), IsEmpty());
  for (int step = 0; step < 2; ++step) {
    Step({Compute(1)});
    Step({Compute(3)});
  }
  EXPECT_EQ(Ids(replies_[1]), model_.Answer({1, 5, 6}, 3, {}));
  EXPECT_THAT(replies_[1].prompt_scores, SizeIs(2));
  EXPECT_EQ(replies_[1].finish, FinishReason::kLength);
  EXPECT_EQ(core_->State().requests_failed_total, 0);
}

TEST_F(CoreTest, WithoutANewPlanRequestsEndInTime) {
  MakeReady(2);
  ASSERT_TRUE(Submit(1, Request({1}, 8)).ok());
  Step({WorkerLost{2, "reset by peer"}});
  Step({Beat(1)}, absl::Seconds(2));
  for (int i = 0; i < 59; ++i) EXPECT_THAT(Step({Beat(1)}, absl::Seconds(2)).updates, SizeIs(i < 58 ? 0 : 1));
  EXPECT_EQ(replies_[1].status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(replies_[1].status.message()), HasSubstr("waiting for 1 of 2 workers"));
  EXPECT_EQ(core_->State().requests_failed_total, 1);
}

TEST_F(CoreTest, WhereNobodyWaitsForWorkersALossEndsRequests) {
  options_.recovery_max = absl::ZeroDuration();
  MakeReady(1);
  ASSERT_TRUE(Submit(1, Request({1}, 8)).ok());
  Step({WorkerLost{1, "gone"}});
  EXPECT_THAT(std::string(replies_[1].status.message()), HasSubstr("worker 1 'w1' was lost: gone"));
}

TEST_F(CoreTest, ARequestThatOutlivesManyWorkersEnds) {
  options_.losses_max = 3;
  MakeReady(1);
  ASSERT_TRUE(Submit(1, Request({1}, 8)).ok());
  for (int id = 2; id <= 4; ++id) {
    EXPECT_EQ(replies_[1].finish, FinishReason::kNone);
    Step({WorkerLost{id - 1, "it crashed"}});
    sent_.clear();
    Step({Join(id)});
    Step({LoadDone(id, id)});
  }
  EXPECT_THAT(std::string(replies_[1].status.message()), HasSubstr("the loss of 3 workers in turn"));
}

TEST_F(CoreTest, WhatTheNextPlanCannotHoldEnds) {
  MakeReady(1);
  ASSERT_TRUE(Submit(1, Request({1}, 300)).ok());
  ASSERT_TRUE(Submit(2, Request({2}, 8)).ok());
  kv_blocks_ = 10;
  Step({WorkerLost{1, "gone"}});
  Step({Join(2)});
  Step({LoadDone(2, 2)});
  EXPECT_THAT(std::string(replies_[1].status.message()), HasSubstr("holds 40 tokens instead of 301"));
  EXPECT_EQ(replies_[2].finish, FinishReason::kNone);
}

TEST_F(CoreTest, ARequestEndsAtItsTimeout) {
  options_.running_max = 1;
  MakeReady(1);
  GenerateRequest request = Request({1}, 8);
  request.timeout = absl::Seconds(2);
  ASSERT_TRUE(Submit(1, request).ok());
  ASSERT_TRUE(Submit(2, request).ok());
  ASSERT_TRUE(Submit(3, Request({1}, 8)).ok());
  Step({Compute(1)});
  EXPECT_THAT(Step({Beat(1)}, absl::Milliseconds(1999)).updates, IsEmpty());
  EXPECT_THAT(Step({Beat(1)}, absl::Milliseconds(1)).updates, SizeIs(2));
  for (int id : {1, 2}) EXPECT_EQ(replies_[id].status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(replies_[1].status.message()), HasSubstr("2s are over; it had 1 of at most 8 tokens"));
  Step({Compute(1)});
  while (replies_[3].finish == FinishReason::kNone) Step({Compute(1)});
  EXPECT_EQ(Ids(replies_[3]), model_.Answer({1}, 8, {}));
}

TEST_F(CoreTest, ASilentWorkerIsLostAfterItsLease) {
  MakeReady(2);
  ASSERT_TRUE(Submit(1, Request({1}, 8)).ok());
  Step({Beat(1)}, absl::Seconds(2));
  EXPECT_TRUE(core_->ready());
  const Actions actions = Step({Beat(1)}, absl::Milliseconds(1001));
  ASSERT_THAT(actions.disconnects, SizeIs(1));
  EXPECT_EQ(actions.disconnects[0].worker_id, 2);
  EXPECT_FALSE(core_->ready());
}

TEST_F(CoreTest, AStepThatHangsCostsTheFirstStageThatDidNotAnswer) {
  MakeReady(3);
  ASSERT_TRUE(Submit(1, Request({1}, 8)).ok());
  Step({Compute(1)});
  for (int i = 0; i < 600; ++i) {
    EXPECT_THAT(Step({Beat(1), Beat(2), Beat(3)}, absl::Seconds(1)).disconnects, IsEmpty());
  }
  const Actions actions = Step({Beat(1), Beat(2), Beat(3)}, absl::Seconds(1));
  ASSERT_THAT(actions.disconnects, SizeIs(1));
  EXPECT_EQ(actions.disconnects[0].worker_id, 2);
  EXPECT_THAT(core_->State().reason, HasSubstr("no answer to step 1 within 10m"));
}

TEST_F(CoreTest, ALoadWithoutProgressCostsItsWorker) {
  Step({Join(1)});
  Actions actions;
  for (int i = 0; i <= 300; ++i) actions = Step({Beat(1)}, absl::Seconds(1));
  ASSERT_THAT(actions.disconnects, SizeIs(1));
  EXPECT_THAT(actions.disconnects[0].reason.ToString(), HasSubstr("no progress of loading"));
}

TEST_F(CoreTest, AStepFailureLoadsAgain) {
  MakeReady(2);
  ASSERT_TRUE(Submit(1, Request({1}, 8)).ok());
  WorkerSaid failure{.worker_id = 2, .message = {}};
  failure.message.mutable_step_failure()->set_epoch(1);
  failure.message.mutable_step_failure()->set_step_id(1);
  failure.message.mutable_step_failure()->set_error("link broken");
  sent_.clear();
  EXPECT_THAT(Step({failure}).disconnects, IsEmpty());
  EXPECT_EQ(replies_[1].finish, FinishReason::kNone);
  EXPECT_THAT(core_->State().reason, HasSubstr("worker 2 'w2' failed at step 1: link broken"));
  for (const int64_t id : {1, 2}) {
    EXPECT_EQ(Take(id)->end_epoch().epoch(), 1) << "nobody waits for what will not come";
    EXPECT_EQ(Take(id)->load().epoch(), 2);
  }
}

TEST_F(CoreTest, SilentRanksGoTogether) {
  MakeReady(2, /*ranks=*/true);
  ASSERT_TRUE(Submit(1, Request({1}, 2)).ok());
  for (absl::Duration waited; waited <= options_.step_deadline; waited += absl::Seconds(2)) {
    EXPECT_THAT(Step({Beat(1), Beat(2)}, absl::Seconds(2)).disconnects,
                SizeIs(waited + absl::Seconds(2) > options_.step_deadline ? 2 : 0));
  }
  EXPECT_FALSE(core_->ready());
}

}  // namespace
}  // namespace barn
