#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "kernels/devices.h"
#include "sharding/rank_link.h"
#include "tests/worker/service/worker_fixture.h"

// Two workers with simulated GPUs run one stage together, over the stand-in for NCCL (BARN_NCCL).

namespace barn {
namespace {

using testing::HasSubstr;

constexpr float kTolerance = 1e-3f;  // Of F32 sums in another order, as oracles/arch has it.
const std::vector<int32_t> kPrompt = {1, 70, 258, 33, 9, 199, 300, 41, 7, 120, 66, 250};

class Faults {
 public:
  explicit Faults(const char* words) { setenv("BARN_SIMT_NCCL", words, 1); }
  ~Faults() { unsetenv("BARN_SIMT_NCCL"); }
};

struct TwoGpus {
  FakeCoordinator coordinator;
  std::unique_ptr<RunningWorker> workers[2];
  std::shared_ptr<FakeCoordinator::Peer> peers[2];

  explicit TwoGpus(absl::Duration wait = absl::Minutes(1)) {
    for (int rank = 0; rank < 2; ++rank) {
      WorkerOptions options = TestWorkerOptions(coordinator);
      options.memory_bytes = 0;
      options.exchange_wait = options.rank_wait = wait;
      options.make_device = [name = "simt:" + std::to_string(rank)] {
        return CreateDevice({.name = name, .threads = 1, .pin = false, .memory_bytes = int64_t{32} << 20});
      };
      workers[rank] = std::make_unique<RunningWorker>(options);
      peers[rank] = coordinator.AwaitPeer(rank);
    }
  }

  proto::CoordinatorMessage Load(int64_t epoch, int rank) const {
    proto::CoordinatorMessage message = LoadMessage({.epoch = epoch});
    message.mutable_load()->set_rank(rank);
    message.mutable_load()->set_ranks(2);
    for (const auto& peer : peers) message.mutable_load()->add_rank_addresses(peer->rank_address());
    return message;
  }
  // What each says, then.
  std::vector<proto::LoadResult> LoadBoth(int64_t epoch) {
    const proto::CoordinatorMessage loads[] = {Load(epoch, 0), Load(epoch, 1)};
    for (int rank = 0; rank < 2; ++rank) peers[rank]->Send(loads[rank]);
    std::vector<proto::LoadResult> results;
    for (const auto& peer : peers) results.push_back(peer->NextLoadResult().value_or(proto::LoadResult()));
    return results;
  }
  void MustLoad(int64_t epoch) {
    for (const proto::LoadResult& result : LoadBoth(epoch)) {
      ASSERT_EQ(result.epoch(), epoch);
      ASSERT_EQ(result.code(), 0) << result.error();
    }
  }
  void ExpectAnswers(int64_t epoch) {
    const std::vector<std::vector<int32_t>> chunks = {
        {kPrompt.begin(), kPrompt.begin() + 7}, {kPrompt.begin() + 7, kPrompt.end()}, {41}};
    const std::vector<std::vector<float>> expected = SliceLogits(chunks);
    int64_t position = 0;
    for (size_t i = 0; i < chunks.size(); ++i) {
      for (const auto& peer : peers) {
        peer->Send(StepMessage(epoch, static_cast<int64_t>(i) + 1, position, chunks[i]));
      }
      position += static_cast<int64_t>(chunks[i].size());
      const auto first = peers[0]->NextAnswer(), second = peers[1]->NextAnswer();
      ASSERT_TRUE(first && second && first->has_step_result() && second->has_step_result())
          << (first ? first->ShortDebugString() : "no answer");
      EXPECT_EQ(second->step_result().sequences_size(), 0);
      ASSERT_EQ(first->step_result().sequences_size(), 1);
      const std::vector<float> got = FullLogits(first->step_result().sequences(0));
      ASSERT_EQ(got.size(), expected[i].size());
      for (size_t at = 0; at < got.size(); ++at) ASSERT_NEAR(got[at], expected[i][at], kTolerance) << at;
      const auto best = std::max_element(expected[i].begin(), expected[i].end()) - expected[i].begin();
      EXPECT_EQ(first->step_result().sequences(0).candidate_ids(0), best);
    }
  }
};

TEST(WorkerGpuRanks, AnswerAsTheCpuEpochAfterEpoch) {
  TwoGpus two;
  const RankLink first = ParseRankLink(two.peers[0]->hello().rank_address());
  EXPECT_EQ(first.transport, "NCCL 2.28.9");
  EXPECT_EQ(first.device, "simt:0");
  EXPECT_EQ(ParseRankLink(two.peers[1]->hello().rank_address()).device, "simt:1");
  EXPECT_EQ(two.peers[0]->hello().memory_domain(), two.peers[1]->hello().memory_domain());
  for (int64_t epoch = 1; epoch <= 3; ++epoch) {
    const std::string used = two.peers[0]->rank_address();
    ASSERT_NO_FATAL_FAILURE(two.MustLoad(epoch));
    // The id has served, and who plans the next epoch knows another before it hears of this one.
    EXPECT_NE(two.peers[0]->rank_address(), used);
    ASSERT_NO_FATAL_FAILURE(two.ExpectAnswers(epoch));
  }
}

// A GPU that hangs: both workers say so in time, both are there for the next epoch.
TEST(WorkerGpuRanks, ASilentRankEndsTheEpochAndTheNextServes) {
  TwoGpus two(absl::Seconds(3));
  {
    const Faults faults("silent=1:5");
    ASSERT_NO_FATAL_FAILURE(two.MustLoad(1));
    const absl::Time began = absl::Now();
    for (const auto& peer : two.peers) peer->Send(StepMessage(1, 1, 0, kPrompt));
    for (const auto& peer : two.peers) {
      const auto answer = peer->NextAnswer();
      ASSERT_TRUE(answer && answer->has_step_failure());
      EXPECT_EQ(answer->step_failure().code(), static_cast<int>(absl::StatusCode::kDeadlineExceeded));
      EXPECT_THAT(answer->step_failure().error(), HasSubstr("the other ranks did not come"));
    }
    EXPECT_LT(absl::Now() - began, absl::Seconds(20));
  }
  ASSERT_NO_FATAL_FAILURE(two.MustLoad(2));
  ASSERT_NO_FATAL_FAILURE(two.ExpectAnswers(2));
}

TEST(WorkerGpuRanks, TheEndOfTheEpochEndsTheWait) {
  TwoGpus two;
  ASSERT_NO_FATAL_FAILURE(two.MustLoad(1));
  two.peers[0]->Send(StepMessage(1, 1, 0, kPrompt));  // The other rank never gets it.
  absl::SleepFor(absl::Milliseconds(200));
  proto::CoordinatorMessage end;
  end.mutable_end_epoch()->set_epoch(1);
  two.peers[0]->Send(end);
  const auto answer = two.peers[0]->NextAnswer();
  ASSERT_TRUE(answer && answer->has_step_failure());
  EXPECT_EQ(answer->step_failure().code(), static_cast<int>(absl::StatusCode::kAborted));
  ASSERT_NO_FATAL_FAILURE(two.MustLoad(2));
  ASSERT_NO_FATAL_FAILURE(two.ExpectAnswers(2));
}

TEST(WorkerGpuRanks, AWorkerWhoseNcclDoesNotStartIsNoRankAnyMore) {
  TwoGpus two;
  const Faults faults("fail-init=1");
  for (int64_t epoch = 1; epoch <= 3; ++epoch) {
    const std::string used = two.peers[0]->rank_address();
    const proto::CoordinatorMessage loads[] = {two.Load(epoch, 0), two.Load(epoch, 1)};
    for (int rank = 0; rank < 2; ++rank) two.peers[rank]->Send(loads[rank]);
    const auto result = two.peers[1]->NextLoadResult();
    ASSERT_TRUE(result);
    EXPECT_EQ(result->code(), static_cast<int>(absl::StatusCode::kUnavailable)) << result->error();
    // The other waits until it is told, and has said its next address by then.
    while (two.peers[0]->rank_address() == used) absl::SleepFor(absl::Milliseconds(5));
    proto::CoordinatorMessage end;
    end.mutable_end_epoch()->set_epoch(epoch);
    two.peers[0]->Send(end);
  }
  const RankLink link = ParseRankLink(two.peers[1]->rank_address());
  EXPECT_EQ(link.transport, "");
  EXPECT_THAT(link.missing, HasSubstr("joining the other ranks: unhandled cuda error"));
  EXPECT_EQ(link.device, "simt:1");
  // As it stays a stage of a pipeline.
  ASSERT_NO_FATAL_FAILURE(LoadTwoStages(*two.peers[0], *two.peers[1], 4, 2));
}

TEST(WorkerGpuRanks, LoadsThatMakeNoSenseAreRefused) {
  TwoGpus two;
  const auto error = [&](int rank, const std::string& address) {
    proto::CoordinatorMessage message = two.Load(1, 0);
    message.mutable_load()->set_rank_addresses(rank, address);
    two.peers[0]->Send(message);
    const auto result = two.peers[0]->NextLoadResult();
    return result && result->code() != 0 ? result->error() : "";
  };
  EXPECT_THAT(error(1, "bytes of UCX"), HasSubstr("rank 1 exchanges by UCX, this worker by NCCL 2.28.9"));
  EXPECT_THAT(error(1, FormatRankLink({.transport = "NCCL 2.20.1", .address = std::string(128, 'x')})),
              HasSubstr("rank 1 exchanges by NCCL 2.20.1"));
  EXPECT_THAT(error(1, FormatRankLink({.transport = "NCCL 2.28.9", .address = "short"})), HasSubstr("has 5 bytes"));
  EXPECT_THAT(error(0, FormatRankLink({.transport = "NCCL 2.28.9", .address = std::string(128, 'x')})),
              HasSubstr("no longer has"));
  ASSERT_NO_FATAL_FAILURE(two.MustLoad(2));
  ASSERT_NO_FATAL_FAILURE(two.ExpectAnswers(2));
}

}  // namespace
}  // namespace barn
