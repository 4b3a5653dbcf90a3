// Several workers on one machine run one stage together.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "absl/time/clock.h"
#include "tests/worker/service/worker_fixture.h"

namespace barn {
namespace {

using testing::HasSubstr;

const std::vector<int32_t> kPrompt = {172, 199, 170, 144, 252};
const std::vector<int32_t> kMore = {41};

struct TwoRanks {
  FakeCoordinator coordinator;
  std::unique_ptr<RunningWorker> workers[2];
  std::shared_ptr<FakeCoordinator::Peer> peers[2];

  TwoRanks() {
    for (int rank = 0; rank < 2; ++rank) {
      workers[rank] = std::make_unique<RunningWorker>(TestWorkerOptions(coordinator));
      peers[rank] = coordinator.AwaitPeer(rank);
    }
  }

  proto::CoordinatorMessage Load(int64_t epoch, int rank) const {
    proto::CoordinatorMessage message = LoadMessage({.epoch = epoch});
    message.mutable_load()->set_rank(rank);
    message.mutable_load()->set_ranks(2);
    for (const auto& peer : peers) {
      message.mutable_load()->add_rank_addresses(peer->rank_address());
    }
    return message;
  }
  void LoadBoth(int64_t epoch) {
    for (int rank = 0; rank < 2; ++rank) {
      peers[rank]->Send(Load(epoch, rank));
    }
    for (const auto& peer : peers) {
      const auto result = peer->NextLoadResult();
      ASSERT_TRUE(result.has_value());
      ASSERT_EQ(result->code(), 0) << result->error();
    }
  }
  // What rank 0 answers; rank 1 only acknowledges.
  std::optional<proto::StepResult> Step(int64_t epoch, int64_t step, int64_t position,
                                        const std::vector<int32_t>& tokens) {
    for (const auto& peer : peers) {
      peer->Send(StepMessage(epoch, step, position, tokens));
    }
    const auto first = peers[0]->NextAnswer(), second = peers[1]->NextAnswer();
    if (!first || !second || !first->has_step_result() || !second->has_step_result()) {
      return std::nullopt;
    }
    EXPECT_EQ(second->step_result().sequences_size(), 0);
    return first->step_result();
  }
};

TEST(WorkerRanks, GiveTheBitsOfOneWorker) {
  TwoRanks two;
  EXPECT_NE(two.peers[0]->hello().memory_domain(), "");
  EXPECT_EQ(two.peers[0]->hello().memory_domain(), two.peers[1]->hello().memory_domain());
  EXPECT_NE(two.peers[0]->rank_address(), two.peers[1]->rank_address());
  two.LoadBoth(1);
  const auto prompt = two.Step(1, 1, 0, kPrompt);
  const auto more = two.Step(1, 2, 5, kMore);
  ASSERT_TRUE(prompt && more);
  const auto expected = SliceLogits({kPrompt, kMore});
  EXPECT_EQ(FullLogits(prompt->sequences(0)), expected[0]);
  EXPECT_EQ(FullLogits(more->sequences(0)), expected[1]);
}

TEST(WorkerRanks, EveryRankKnowsTheTokenThatAStepTakesFromTheOneBefore) {
  TwoRanks two;
  two.LoadBoth(1);
  proto::CoordinatorMessage prompt = StepMessage(1, 1, 0, kPrompt);
  prompt.mutable_step()->mutable_sequences(0)->set_candidates(1);
  for (const auto& peer : two.peers) {
    peer->Send(prompt);
    peer->Send(FollowingStepMessage(1, 2, static_cast<int64_t>(kPrompt.size())));
  }
  const auto first = two.peers[0]->NextAnswer(), second = two.peers[0]->NextAnswer();
  ASSERT_TRUE(first && second && second->has_step_result()) << (second ? second->ShortDebugString() : "");
  const int32_t token = first->step_result().sequences(0).candidate_ids(0);
  EXPECT_EQ(FullLogits(second->step_result().sequences(0)), SliceLogits({kPrompt, {token}})[1]);
}

TEST(WorkerRanks, ARankThatEndsIsAStepFailureSoonAndTheOtherServesOn) {
  TwoRanks two;
  two.LoadBoth(1);
  const std::string address = two.peers[0]->rank_address();
  two.peers[0]->Send(StepMessage(1, 1, 0, kPrompt));
  absl::SleepFor(absl::Milliseconds(100));
  const absl::Time began = absl::Now();
  EXPECT_TRUE(two.workers[1]->End().ok());
  const auto answer = two.peers[0]->NextAnswer();
  ASSERT_TRUE(answer && answer->has_step_failure());
  EXPECT_EQ(answer->step_failure().code(), static_cast<int>(absl::StatusCode::kUnavailable));
  EXPECT_LT(absl::Now() - began, absl::Seconds(5));
  two.workers[1] = std::make_unique<RunningWorker>(TestWorkerOptions(two.coordinator));
  two.peers[1] = two.coordinator.AwaitPeer(2);
  // The port may hold half a message of the rank that ended, so there is a new one.
  while (two.peers[0]->rank_address() == address && absl::Now() - began < absl::Seconds(20)) {
    absl::SleepFor(absl::Milliseconds(10));
  }
  two.LoadBoth(2);
  const auto result = two.Step(2, 1, 0, kPrompt);
  ASSERT_TRUE(result);
  EXPECT_EQ(FullLogits(result->sequences(0)), SliceLogits({kPrompt})[0]);
}

TEST(WorkerRanks, TheEndOfTheEpochEndsTheWait) {
  TwoRanks two;
  two.LoadBoth(1);
  two.peers[0]->Send(StepMessage(1, 1, 0, kPrompt));  // The other rank never gets it.
  absl::SleepFor(absl::Milliseconds(100));
  proto::CoordinatorMessage end;
  end.mutable_end_epoch()->set_epoch(1);
  two.peers[0]->Send(end);
  const auto answer = two.peers[0]->NextAnswer();
  ASSERT_TRUE(answer && answer->has_step_failure());
  EXPECT_EQ(answer->step_failure().code(), static_cast<int>(absl::StatusCode::kAborted));
}

TEST(WorkerRanks, AWrongSecretIsSilence) {
  TwoRanks two;
  proto::CoordinatorMessage stranger = two.Load(1, 1);
  stranger.mutable_load()->set_exchange_token("guessed");
  two.peers[0]->Send(two.Load(1, 0));
  two.peers[1]->Send(stranger);
  for (const auto& peer : two.peers) {
    ASSERT_EQ(peer->NextLoadResult()->code(), 0);
    peer->Send(StepMessage(1, 1, 0, kPrompt));
  }
  absl::SleepFor(absl::Milliseconds(300));
  proto::CoordinatorMessage end;
  end.mutable_end_epoch()->set_epoch(1);
  for (const auto& peer : two.peers) {
    peer->Send(end);
    const auto answer = peer->NextAnswer();
    EXPECT_TRUE(answer && answer->has_step_failure());
  }
}

TEST(WorkerRanks, LoadsThatMakeNoSenseAreRefused) {
  TwoRanks two;
  const auto error = [&](const std::function<void(proto::LoadRequest&)>& spoil) {
    proto::CoordinatorMessage message = two.Load(1, 0);
    spoil(*message.mutable_load());
    two.peers[0]->Send(message);
    const auto result = two.peers[0]->NextLoadResult();
    return result && result->code() != 0 ? result->error() : "";
  };
  EXPECT_THAT(error([](auto& load) { load.set_rank(2); }), HasSubstr("rank is 2"));
  EXPECT_THAT(error([](auto& load) { load.set_rank(-1); }), HasSubstr("rank is -1"));
  EXPECT_THAT(error([](auto& load) { load.set_ranks(1000); }), HasSubstr("ranks is 1000"));
  EXPECT_THAT(error([](auto& load) { load.clear_rank_addresses(); }), HasSubstr("0 addresses for 2 ranks"));
  EXPECT_THAT(error([](auto& load) { load.set_rank_addresses(0, "elsewhere"); }), HasSubstr("no longer has"));
  EXPECT_THAT(error([](auto& load) { load.set_rank_addresses(1, "x"); }), HasSubstr("address has 1 bytes"));
  EXPECT_THAT(error([](auto& load) { load.set_exchange_token(""); }), HasSubstr("secret"));
  EXPECT_THAT(error([](auto& load) { load.set_stages(2), load.set_last_layer(1); }), HasSubstr("2 stages of 2 ranks"));
}

}  // namespace
}  // namespace barn
