#include "coordinator/scheduler/sequences.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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
  const Case cases[] = {
      {"the prompt has no tokens", Request(0, 1)},
      {"the prompt has 90 tokens and max_tokens is 11: together more than the context of 100 tokens", Request(90, 11)},
      {"max_tokens is 9223372036854775807", Request(1, INT64_MAX)},
      {"the prompt has 101 tokens", Request(101, 0)},
      {"max_tokens is -1", Request(1, -1)},
      {"prompt token 2 is 50, outside the vocabulary of 50", bad_token},
      {"top_logprobs is 51", top},
      {"temperature", sampling},
  };
  for (const Case& one : cases) {
    const absl::Status status = CheckRequest(one.request, {.vocabulary = 50, .sequence_tokens_max = 100});
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(one.part_of_message));
  }
  EXPECT_TRUE(CheckRequest(Request(90, 10), {.vocabulary = 50, .sequence_tokens_max = 100}).ok());
}

TEST(Sequences, AdmissionReservesTheLongestAnswerAndNeverOvertakes) {
  Sequences sequences;
  sequences.Reset(KvBlocks(10, 4));
  sequences.Add(1, Request(8, 9), 0);   // 16 positions: the last token is drawn, never computed.
  sequences.Add(2, Request(30, 1), 0);  // 30 positions, 8 blocks: has to wait.
  sequences.Add(3, Request(1, 1), 0);   // Would fit, but does not overtake.
  sequences.Admit(100);
  EXPECT_EQ(sequences.running().size(), 1u);
  EXPECT_EQ(sequences.FindRunning(1)->blocks.size(), 4u);
  EXPECT_EQ(sequences.blocks().free(), 6);
  EXPECT_TRUE(sequences.Contains(3));
  EXPECT_EQ(sequences.FindRunning(3), nullptr);
  sequences.Release(1);
  sequences.Admit(100);
  EXPECT_EQ(sequences.running().size(), 2u);
  EXPECT_EQ(sequences.blocks().free(), 1);
  EXPECT_TRUE(sequences.waiting().empty());
}

TEST(Sequences, PlacesAreLimited) {
  Sequences sequences;
  sequences.Reset(KvBlocks(10, 4));
  for (int id = 1; id <= 3; ++id) sequences.Add(id, Request(1, 1), 0);
  sequences.Admit(2);
  EXPECT_EQ(sequences.running().size(), 2u);
  EXPECT_TRUE(sequences.RemoveWaiting(3));
  EXPECT_FALSE(sequences.RemoveWaiting(3));
}

TEST(Sequences, WorkersForgetOnlyWhatTheyKnow) {
  Sequences sequences;
  sequences.Reset(KvBlocks(10, 4));
  sequences.Add(1, Request(1, 1), 0);
  sequences.Add(2, Request(1, 1), 0);
  sequences.Admit(2);
  sequences.FindRunning(2)->blocks_sent = 1;
  sequences.Release(1);
  sequences.Release(2);
  EXPECT_THAT(sequences.TakeReleased(), ElementsAre(2));
  EXPECT_TRUE(sequences.TakeReleased().empty());
  EXPECT_EQ(sequences.blocks().free(), 10);
}

}  // namespace
}  // namespace barn
