// Adapters come with a plan or while it runs, and leave when nobody uses them any more.
#include "coordinator/scheduler/adapters.h"

#include <cmath>

#include "tests/coordinator/scheduler/core_by_hand.h"

namespace barn {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class AdaptersTest : public CoreTest {
 protected:
  static AdapterAsked Ask(int64_t id) { return {.adapter_id = id, .parts = {absl::StrCat("/a", id, ".gguf")}}; }
  static WorkerSaid Answer(int64_t worker, int64_t epoch, int64_t id, absl::StatusCode code = absl::StatusCode::kOk) {
    WorkerSaid event{.worker_id = worker, .message = {}};
    proto::AdapterResult& result = *event.message.mutable_adapter_result();
    result.set_epoch(epoch);
    result.set_adapter_id(id);
    result.set_code(static_cast<int32_t>(code));
    if (code != absl::StatusCode::kOk) result.set_error("it does not fit");
    return event;
  }
  static GenerateRequest With(GenerateRequest request, std::vector<AdapterUse> uses) {
    request.adapters = std::move(uses);
    return request;
  }
  // A ready cluster of `workers` with adapter 7 on it.
  void MakeReadyWithAdapter(int workers) {
    MakeReady(workers);
    Step({Ask(7)});
    for (int id = 1; id <= workers; ++id) {
      const auto message = Take(id);
      ASSERT_TRUE(message != nullptr && message->has_load_adapter());
      EXPECT_EQ(message->load_adapter().adapter_id(), 7);
      EXPECT_THAT(message->load_adapter().parts(), SizeIs(1));
    }
    Actions last;
    for (int id = 1; id <= workers; ++id) last = Step({Answer(id, 1, 7)});
    ASSERT_THAT(last.adapters, SizeIs(1));
    EXPECT_TRUE(last.adapters[0].status.ok());
  }
};

TEST_F(AdaptersTest, IsReadyWhenEveryWorkerHasIt) {
  MakeReady(2);
  EXPECT_TRUE(absl::IsNotFound(Submit(1, With(Request({1}, 2), {{7, 1}}))));
  EXPECT_THAT(Step({Ask(7)}).adapters, IsEmpty());
  EXPECT_TRUE(absl::IsUnavailable(Submit(2, With(Request({1}, 2), {{7, 1}})))) << "still loading";
  EXPECT_THAT(Step({Answer(2, 1, 7)}).adapters, IsEmpty());
  EXPECT_THAT(Step({Answer(1, 1, 7)}).adapters, SizeIs(1));
  EXPECT_TRUE(Submit(3, With(Request({1}, 2), {{7, 0.5f}})).ok());
  EXPECT_TRUE(Take(1)->has_load_adapter());
  const auto step = Take(1);
  ASSERT_TRUE(step->has_step());
  ASSERT_THAT(step->step().sequences(0).adapters(), SizeIs(1));
  EXPECT_EQ(step->step().sequences(0).adapters(0).adapter_id(), 7);
  EXPECT_EQ(step->step().sequences(0).adapters(0).scale(), 0.5f);
}

TEST_F(AdaptersTest, RefusesUsesThatMakeNoSense) {
  MakeReadyWithAdapter(1);
  EXPECT_TRUE(absl::IsInvalidArgument(Submit(1, With(Request({1}, 2), {{7, 1}, {7, 1}})))) << "twice";
  EXPECT_TRUE(absl::IsInvalidArgument(Submit(2, With(Request({1}, 2), {{7, NAN}}))));
  EXPECT_TRUE(absl::IsInvalidArgument(Submit(3, With(Request({1}, 2), {{7, 1e6f}}))));
  EXPECT_FALSE(Submit(4, With(Request({1}, 2), std::vector<AdapterUse>(9, {7, 1}))).ok());
}

TEST_F(AdaptersTest, LeavesWhenItsRequestsHaveEnded) {
  MakeReadyWithAdapter(1);
  ASSERT_TRUE(Submit(1, With(Request({1, 2}, 2), {{7, 1}})).ok());
  Step({AdapterDropped{7}});
  EXPECT_TRUE(absl::IsNotFound(Submit(2, With(Request({1}, 2), {{7, 1}})))) << "no new ones";
  Step({Compute(1)});
  EXPECT_EQ(replies_[1].finish, FinishReason::kNone);
  Step({Compute(1)});
  EXPECT_EQ(replies_[1].finish, FinishReason::kLength);
  const auto message = Take(1);
  ASSERT_NE(message, nullptr);
  ASSERT_TRUE(message->has_unload_adapter()) << message->ShortDebugString();
  EXPECT_EQ(message->unload_adapter().adapter_id(), 7);
  EXPECT_EQ(message->unload_adapter().epoch(), 1);
}

TEST_F(AdaptersTest, AWorkerThatCannotHaveItEndsIt) {
  MakeReady(2);
  Step({Ask(7), Ask(8)});
  Step({Answer(1, 1, 7), Answer(1, 1, 8), Answer(2, 1, 8)});
  const Actions actions = Step({Answer(2, 1, 7, absl::StatusCode::kResourceExhausted)});
  ASSERT_THAT(actions.adapters, SizeIs(1));
  EXPECT_EQ(actions.adapters[0].adapter_id, 7);
  EXPECT_TRUE(absl::IsResourceExhausted(actions.adapters[0].status));
  EXPECT_THAT(std::string(actions.adapters[0].status.message()), HasSubstr("worker 2 'w2': it does not fit"));
  EXPECT_THAT(actions.disconnects, IsEmpty());
  ASSERT_THAT(actions.sends, SizeIs(2));
  EXPECT_EQ(actions.sends[0].message->unload_adapter().adapter_id(), 7) << "the one that has it may forget it";
  EXPECT_TRUE(Submit(1, With(Request({1}, 2), {{8, 1}})).ok());
}

// Without an adapter that a request uses its answer could only go on wrongly.
TEST_F(AdaptersTest, ComesBackWithTheNextPlan) {
  MakeReadyWithAdapter(2);
  Step({Ask(8)});
  Step({Answer(1, 1, 8)});
  ASSERT_TRUE(Submit(1, With(Request({1, 5, 6}, 3), {{7, 1}})).ok());
  while (auto message = Take(1)) {
    if (message->has_step()) {
      sent_[1].push_front(message);
      break;
    }
  }
  Step({Compute(1)});
  Step({WorkerLost{2, "reset by peer"}});
  sent_.clear();
  Step({Join(3)});
  for (const int64_t id : {1, 3}) {
    const auto load = sent_[id].back();
    ASSERT_TRUE(load->has_load());
    ASSERT_THAT(load->load().adapters(), SizeIs(2)) << "also the one that was being loaded";
    EXPECT_EQ(load->load().adapters(0).adapter_id(), 7);
    EXPECT_EQ(load->load().adapters(0).epoch(), 2);
    EXPECT_EQ(load->load().adapters(0).parts(0), "/a7.gguf");
    TakeLoad(id);
  }
  Step({Answer(1, 2, 7), Answer(1, 2, 8), LoadDone(1, 2)});
  const Actions actions = Step({Answer(3, 2, 7), Answer(3, 2, 8), LoadDone(3, 2)});
  EXPECT_THAT(actions.disconnects, IsEmpty());
  ASSERT_THAT(actions.adapters, SizeIs(1)) << "7 was ready before";
  EXPECT_EQ(actions.adapters[0].adapter_id, 8);
  for (int step = 0; step < 3; ++step) {
    Step({Compute(1)});
    Step({Compute(3)});
  }
  EXPECT_EQ(Ids(replies_[1]), model_.Answer({1, 5, 6}, 3, {}));
}

TEST_F(AdaptersTest, ALossOnReloadEndsItsRequests) {
  MakeReadyWithAdapter(2);
  ASSERT_TRUE(Submit(1, With(Request({1, 5, 6}, 3), {{7, 1}})).ok());
  ASSERT_TRUE(Submit(2, Request({1, 5, 6}, 3)).ok());
  Step({WorkerLost{2, "reset by peer"}});
  sent_.clear();
  Step({Join(3)});
  TakeLoad(1);
  TakeLoad(3);
  Step({Answer(1, 2, 7), LoadDone(1, 2), Answer(3, 2, 7, absl::StatusCode::kNotFound), LoadDone(3, 2)});
  ASSERT_TRUE(core_->ready()) << "the model serves on without it";
  EXPECT_EQ(replies_[1].finish, FinishReason::kError);
  EXPECT_THAT(std::string(replies_[1].status.message()), HasSubstr("its adapter is gone"));
  EXPECT_EQ(replies_[2].finish, FinishReason::kNone);
}

TEST_F(AdaptersTest, WorkersThatAnswerNonsenseAreDropped) {
  MakeReadyWithAdapter(1);
  EXPECT_THAT(Step({Answer(1, 1, 7)}).disconnects, SizeIs(1)) << "it was not asked again";
  Step({Join(2)});
  EXPECT_THAT(Step({LoadDone(2, 2)}).disconnects, SizeIs(1)) << "not a word about adapter 7";
}

// Keys and values that passed through an adapter are of no use to others.
TEST_F(AdaptersTest, CachedPrefixesAreOfOneAdapterAndScale) {
  MakeReadyWithAdapter(1);
  const std::vector<int32_t> prompt = {1, 2, 3, 4, 5, 6, 7, 8, 9};  // Two blocks of 4 and a row.
  int64_t id = 0;
  const auto hits = [&](std::vector<AdapterUse> uses) {
    const int64_t before = core_->State().prefix_cache_hits_total;
    EXPECT_TRUE(Submit(++id, With(Request(prompt, 1), std::move(uses))).ok());
    Step({Compute(1)});
    EXPECT_EQ(replies_[id].finish, FinishReason::kLength);
    return core_->State().prefix_cache_hits_total - before;
  };
  EXPECT_EQ(hits({}), 0);
  EXPECT_EQ(hits({{7, 1}}), 0) << "the base model's are not the adapter's";
  EXPECT_EQ(hits({{7, 0.5f}}), 0) << "nor those of another scale";
  EXPECT_EQ(hits({{7, 0.5f}}), 8);
  EXPECT_EQ(hits({{7, 1}}), 8);
  EXPECT_EQ(hits({}), 8);
}

TEST(CacheScopeTest, TheOrderOfAdaptersChangesNothing) {
  const Tenant ana{.name = "ana"}, nobody;
  const std::vector<AdapterUse> one = {{1, 0.5f}, {2, 1}}, other = {{2, 1}, {1, 0.5f}};
  EXPECT_EQ(CacheScope(ana, {}), "ana");
  EXPECT_EQ(CacheScope(ana, one), CacheScope(ana, other));
  EXPECT_NE(CacheScope(ana, one), CacheScope(nobody, one));
  EXPECT_NE(CacheScope(ana, one), CacheScope(ana, std::vector<AdapterUse>{{1, 0.5f}}));
}

}  // namespace
}  // namespace barn
