#include "coordinator/scheduler/sequences.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

namespace barn {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

GenerateRequest Request(int prompt_tokens, int64_t max_tokens) {
  GenerateRequest request;
  request.prompt.assign(prompt_tokens, 3);
  request.max_tokens = max_tokens;
  return request;
}

TEST(CheckRequest, NamesTheParameterAndTheNumbers) {
  struct Case {
    const char* part_of_message;
    GenerateRequest request;
  };
  GenerateRequest bad_token = Request(3, 1), top = Request(3, 1), sampling = Request(3, 1);
  bad_token.prompt[2] = 50;
  top.top_logprobs = 51;
  sampling.sampling.temperature = -1;
  GenerateRequest weight = Request(3, 1), priority = Request(3, 1), late = Request(3, 1), name = Request(3, 1);
  weight.tenant.weight = 0;
  priority.tenant.priority = 101;
  late.timeout = absl::ZeroDuration();
  name.tenant.name.assign(257, 'x');
  const Case cases[] = {
      {"the prompt has no tokens", Request(0, 1)},
      {"the prompt has 90 tokens and max_tokens is 11: together more than the context of 100 tokens", Request(90, 11)},
      {"max_tokens is 9223372036854775807", Request(1, INT64_MAX)},
      {"the prompt has 101 tokens", Request(101, 0)},
      {"max_tokens is -1", Request(1, -1)},
      {"prompt token 2 is 50, outside the vocabulary of 50", bad_token},
      {"top_logprobs is 51", top},
      {"temperature", sampling},
      {"weight is 0, outside 1..1000", weight},
      {"priority is 101, outside -100..100", priority},
      {"timeout is 0", late},
      {"name has 257 bytes, at most 256", name},
  };
  for (const Case& one : cases) {
    const absl::Status status = CheckRequest(one.request, {.vocabulary = 50, .sequence_tokens_max = 100});
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(one.part_of_message));
  }
  EXPECT_TRUE(CheckRequest(Request(90, 10), {.vocabulary = 50, .sequence_tokens_max = 100}).ok());
}

TEST(Sequences, AdmissionTakesWhatIsKnown) {
  Sequences sequences;
  sequences.SetPool(KvBlocks(10, 4));
  EXPECT_TRUE(sequences.Add(1, Request(8, 9), 0).ok());
  EXPECT_TRUE(sequences.Add(2, Request(30, 1), 0).ok());  // 8 blocks, and one for the growth of the first: has to wait.
  sequences.Admit(100);
  EXPECT_EQ(sequences.running().size(), 1u);
  EXPECT_EQ(sequences.FindRunning(1)->blocks.size(), 2u);
  EXPECT_EQ(sequences.blocks().free(), 8);
  EXPECT_NE(sequences.FindWaiting(2), nullptr);
  sequences.Release(1);
  sequences.Admit(100);
  EXPECT_EQ(sequences.running().size(), 1u);
  EXPECT_EQ(sequences.blocks().free(), 2);
  EXPECT_TRUE(sequences.waiting().empty());
}

// While there is no room for a long one, short ones pass, with as many tokens as it has itself.
TEST(Sequences, WhoFindsNoRoomIsOvertakenForAWhile) {
  Sequences sequences;
  sequences.SetPool(KvBlocks(20, 4));
  EXPECT_TRUE(sequences.Add(1, Request(40, 9), 0).ok());
  EXPECT_TRUE(sequences.Add(2, Request(48, 1), 0).ok());  // 12 blocks, 10 are left.
  GenerateRequest minor = Request(2, 1);
  minor.tenant.priority = -1;
  EXPECT_TRUE(sequences.Add(3, minor, 0).ok());
  int64_t passed = 0;
  for (int id = 4; id < 40; ++id) {
    EXPECT_TRUE(sequences.Add(id, Request(4, 2), 0).ok());  // Six tokens each.
    sequences.Admit(100);
    if (sequences.FindRunning(id) == nullptr) continue;
    ++passed;
    sequences.Release(id);
  }
  EXPECT_EQ(passed, 48 / 6);
  EXPECT_EQ(sequences.FindRunning(3), nullptr) << "of a lower priority";
  EXPECT_EQ(sequences.running().size(), 1u);
  sequences.Release(1);
  sequences.Admit(1);
  EXPECT_NE(sequences.FindRunning(2), nullptr) << "it is still its turn";
}

TEST(Sequences, PlacesAreLimited) {
  Sequences sequences;
  sequences.SetPool(KvBlocks(10, 4));
  for (int id = 1; id <= 3; ++id) EXPECT_TRUE(sequences.Add(id, Request(1, 1), 0).ok());
  sequences.Admit(2);
  EXPECT_EQ(sequences.running().size(), 2u);
  sequences.RemoveWaiting(3);
  EXPECT_FALSE(sequences.Contains(3));
}

// The first to come takes blocks from the last, then from the one before it, and never the other way round.
TEST(Sequences, PreemptsFromTheLastOn) {
  Sequences sequences;
  sequences.SetPool(KvBlocks(9, 4));
  for (int id = 1; id <= 3; ++id) EXPECT_TRUE(sequences.Add(id, Request(8, 30), 0).ok());
  sequences.Admit(3);
  ASSERT_EQ(sequences.running().size(), 3u);
  Sequence& first = *sequences.FindRunning(1);
  Sequence& last = *sequences.FindRunning(3);
  EXPECT_TRUE(sequences.Reserve(last, 20));
  EXPECT_EQ(sequences.blocks().free(), 0);
  EXPECT_FALSE(sequences.Reserve(last, 21)) << "all others go before it";
  last.scheduled = last.computed = 20;
  last.blocks_sent = 5;
  last.steps_in_flight = 1;
  EXPECT_TRUE(sequences.Reserve(first, 16)) << "the last is in flight, so the second must go";
  EXPECT_EQ(sequences.FindRunning(2), nullptr);
  EXPECT_FALSE(sequences.Reserve(first, 17));
  last.steps_in_flight = 0;
  EXPECT_TRUE(sequences.Reserve(first, 17));
  EXPECT_EQ(sequences.FindWaiting(3), &last) << "addresses stay";
  EXPECT_EQ(last.scheduled, 0);
  EXPECT_THAT(sequences.TakeReleased(), ElementsAre(3));
  EXPECT_EQ(sequences.preemptions(), 2);
  EXPECT_EQ(sequences.blocks().free(), 4);
}

TEST(Sequences, PriorityStartsFirstAndIsPreemptedLast) {
  Sequences sequences;
  sequences.SetPool(KvBlocks(4, 4));
  GenerateRequest urgent = Request(1, 30);
  urgent.tenant.priority = 2;
  EXPECT_TRUE(sequences.Add(1, Request(1, 30), 0).ok());
  EXPECT_TRUE(sequences.Add(2, urgent, 0).ok());
  sequences.Admit(1);
  ASSERT_NE(sequences.FindRunning(2), nullptr);
  sequences.Admit(2);
  ASSERT_NE(sequences.FindRunning(1), nullptr);
  EXPECT_TRUE(sequences.Reserve(*sequences.FindRunning(1), 12));
  EXPECT_FALSE(sequences.Reserve(*sequences.FindRunning(1), 13));
  EXPECT_TRUE(sequences.Reserve(*sequences.FindRunning(2), 5));
  EXPECT_EQ(sequences.FindRunning(1), nullptr);
}

// Two tenants with weights 3 and 1, each with many requests waiting; one place, requests of unequal sizes.
TEST(Sequences, TenantsStartInProportionToTheirWeights) {
  Sequences sequences;
  sequences.SetPool(KvBlocks(1000, 4));
  std::map<std::string, int64_t> tokens;
  int64_t id = 0;
  const auto add = [&](const std::string& name, int weight, int prompt, int64_t answer) {
    GenerateRequest request = Request(prompt, answer);
    request.prompt[0] = static_cast<int32_t>(++id);  // No common prefix.
    request.tenant = {.name = name, .weight = weight};
    EXPECT_TRUE(sequences.Add(id, std::move(request), 0).ok());
  };
  for (int i = 0; i < 600; ++i) {
    add("big", 3, 40, 10);
    add("small", 1, 10, 30);
  }
  for (int i = 0; i < 400; ++i) {
    sequences.Admit(1);
    ASSERT_EQ(sequences.running().size(), 1u);
    Sequence& sequence = sequences.running().begin()->second;
    const int64_t cost = sequence.prompt_tokens + sequence.request.max_tokens - 1;
    sequence.tokens.resize(cost + 1);
    sequences.Advance(sequence, cost);
    tokens[sequence.request.tenant.name] += cost;
    sequences.Release(sequence.id);
  }
  EXPECT_NEAR(static_cast<double>(tokens["big"]) / static_cast<double>(tokens["small"]), 3, 0.1);
}

// A sequence that takes tokens back writes them anew, and not where others read.
TEST(Sequences, WhoGoesBackLeavesPublishedBlocksToOthers) {
  Sequences sequences;
  sequences.SetPool(KvBlocks(10, 4));
  EXPECT_TRUE(sequences.Add(1, Request(6, 20), 0).ok());
  sequences.Admit(1);
  Sequence& one = *sequences.FindRunning(1);
  one.tokens.insert(one.tokens.end(), {7, 8, 9, 10, 11, 12, 13});
  ASSERT_TRUE(sequences.Reserve(one, 13));
  sequences.Advance(one, 13);
  one.computed = 13;
  one.blocks_sent = 4;
  sequences.Publish(one);
  ASSERT_EQ(one.prefix_blocks(), 3);
  const std::vector<int32_t> before = one.blocks;
  sequences.LeaveShared(one);
  EXPECT_EQ(one.blocks, before) << "it did not go back";
  one.tokens.resize(11);
  one.tokens.back() = 40;
  one.scheduled = one.computed = 10;
  sequences.LeaveShared(one);
  EXPECT_EQ(one.scheduled, 8) << "two tokens of the third block are computed again";
  EXPECT_EQ(one.blocks_sent, 2);
  EXPECT_EQ(sequences.blocks().cached(), 1);
  ASSERT_TRUE(sequences.Reserve(one, 11));
  EXPECT_NE(one.blocks[2], before[2]);
  EXPECT_TRUE(sequences.Add(2, Request(6, 20), 0).ok());
  GenerateRequest same = Request(0, 20);
  same.prompt = {3, 3, 3, 3, 3, 3, 7, 8, 9, 10, 11, 12, 13};
  EXPECT_TRUE(sequences.Add(3, same, 0).ok());
  sequences.Admit(3);
  EXPECT_EQ(sequences.FindRunning(3)->blocks[2], before[2]) << "what was published is there still";
}

TEST(Sequences, WorkersForgetOnlyWhatTheyKnow) {
  Sequences sequences;
  sequences.SetPool(KvBlocks(10, 4));
  EXPECT_TRUE(sequences.Add(1, Request(1, 1), 0).ok());
  EXPECT_TRUE(sequences.Add(2, Request(1, 1), 0).ok());
  sequences.Admit(2);
  sequences.FindRunning(2)->blocks_sent = 1;
  sequences.Release(1);
  sequences.Release(2);
  EXPECT_THAT(sequences.TakeReleased(), ElementsAre(2));
  EXPECT_TRUE(sequences.TakeReleased().empty());
}

TEST(Sequences, SuspendedOnesStartOverWithWhatTheyKnow) {
  Sequences sequences;
  sequences.SetPool(KvBlocks(10, 4));
  EXPECT_TRUE(sequences.Add(1, Request(6, 20), 0).ok());
  EXPECT_TRUE(sequences.Add(2, Request(6, 20), 0).ok());
  sequences.Admit(2);
  Sequence& one = *sequences.FindRunning(1);
  sequences.Advance(one, 6);
  one.tokens.push_back(9);
  one.steps_in_flight = 1;
  sequences.FindRunning(2)->finished = true;
  sequences.Suspend();
  EXPECT_TRUE(sequences.running().empty());
  EXPECT_FALSE(sequences.Contains(2));
  sequences.SetPool(KvBlocks(3, 4));
  sequences.Admit(2);
  ASSERT_EQ(sequences.FindRunning(1), &one);
  EXPECT_EQ(one.scheduled, 0);
  EXPECT_EQ(one.pending(), 7);
  EXPECT_FALSE(one.decoding());
  EXPECT_EQ(one.blocks.size(), 2u);
  EXPECT_TRUE(sequences.TakeReleased().empty()) << "workers of a new plan know nothing";
}

}  // namespace
}  // namespace barn
