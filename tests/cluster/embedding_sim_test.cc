// Embeddings on simulated clusters: right whatever the chunks, the batch, the prefixes that are found and the workers
// that are lost; encoders, whose sequences must come whole.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "tests/cluster/sim_cluster.h"

namespace barn {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

GenerateRequest Embedding(std::vector<int32_t> prompt, Pooling pooling) {
  GenerateRequest request;
  request.prompt = std::move(prompt);
  request.max_tokens = 0;
  request.pooling = pooling;
  return request;
}

// Often beginning like another, so that prefixes are found.
GenerateRequest AnyRequest(std::mt19937_64& random, bool encoder, int tokens_max) {
  const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
  GenerateRequest request;
  request.prompt.resize(pick(1, tokens_max));
  for (int32_t& token : request.prompt) token = pick(0, 49);
  if (pick(0, 1) == 0) std::fill_n(request.prompt.begin(), pick(0, static_cast<int>(request.prompt.size())), 3);
  request.sampling.temperature = 0;
  request.max_tokens = 0;
  constexpr Pooling kPoolings[] = {Pooling::kMean, Pooling::kFirst, Pooling::kLast, Pooling::kScore};
  request.pooling = kPoolings[pick(0, 3)];
  if (!encoder && pick(0, 1) == 0) {
    request.pooling = Pooling::kNone;
    request.max_tokens = pick(0, 8);
  }
  return request;
}

void ExpectTrueReplies(const SimCluster& sim) {
  for (const auto& [id, reply] : sim.replies()) {
    SCOPED_TRACE(id);
    if (!reply.verdict.ok()) {  // It came while a worker was away.
      EXPECT_EQ(reply.verdict.code(), absl::StatusCode::kUnavailable) << reply.verdict;
      continue;
    }
    EXPECT_EQ(reply.ends, 1);
    if (reply.request.pooling == Pooling::kNone) {
      EXPECT_THAT(reply.embedding, IsEmpty());
      EXPECT_EQ(reply.tokens, sim.model().Answer(reply.request.prompt, reply.request.max_tokens, {7}));
    } else {
      EXPECT_EQ(reply.finish, FinishReason::kLength) << reply.status;
      EXPECT_EQ(reply.embedding, sim.model().Embedding(reply.request.prompt, reply.request.pooling));
      EXPECT_THAT(reply.tokens, IsEmpty());
    }
  }
}

TEST(EmbeddingSim, HistoriesGiveTheEmbeddingOfThePrompt) {
  for (uint64_t seed = 1; seed <= 400; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    std::mt19937_64 random(seed);
    const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
    SimOptions options;
    options.seed = seed;
    options.encoder = seed % 2 == 0;
    options.workers = pick(1, 3);
    options.ranks = pick(0, 3) == 0;
    options.kv_blocks = pick(20, 60);
    options.kv_block_tokens = pick(2, 8);
    options.step_tokens_max = options.encoder ? pick(30, 64) : pick(3, 40);
    SimCluster sim(options);
    sim.StartAll();
    ASSERT_TRUE(sim.RunUntilReady(absl::Seconds(20)));
    const int requests = pick(1, 24);
    for (int i = 0; i < requests; ++i) {
      sim.At(sim.now() + absl::Milliseconds(pick(0, 800)),
             [&] { sim.Submit(AnyRequest(random, options.encoder, 30)); });
    }
    if (seed % 3 == 0) {
      const int worker = pick(0, options.workers - 1);
      sim.At(sim.now() + absl::Milliseconds(pick(100, 900)), [&sim, worker] { sim.Kill(worker, false); });
      sim.At(sim.now() + absl::Milliseconds(1500), [&sim, worker] { sim.Restart(worker); });
    }
    sim.RunFor(absl::Seconds(2));
    ASSERT_TRUE(sim.RunUntilIdle(absl::Minutes(10)));
    EXPECT_THAT(sim.errors(), IsEmpty());
    ExpectTrueReplies(sim);
    sim.RunFor(absl::Seconds(1));
    const EngineState state = sim.core().State();
    EXPECT_EQ(state.kv_blocks_free, state.kv_blocks_total);
    if (options.encoder) {
      EXPECT_EQ(state.prefix_cache_hits_total, 0);
    }
    if (HasFailure()) return;
  }
}

TEST(EmbeddingSim, TheLastRowUsesAPrefixAndAMeanDoesNot) {
  for (const Pooling pooling : {Pooling::kLast, Pooling::kMean}) {
    SimCluster sim({.workers = 1});
    sim.StartAll();
    ASSERT_TRUE(sim.RunUntilReady(absl::Seconds(20)));
    const std::vector<int32_t> prompt(20, 3);
    for (int i = 0; i < 2; ++i) {
      sim.Submit(Embedding(prompt, pooling));
      ASSERT_TRUE(sim.RunUntilIdle(absl::Seconds(20)));
    }
    ExpectTrueReplies(sim);
    EXPECT_EQ(sim.core().State().prefix_cache_hits_total, pooling == Pooling::kLast ? 16 : 0);
  }
}

TEST(EmbeddingSim, AnEncoderTakesSeveralTextsInAStepAndNoneThatIsTooLong) {
  SimCluster sim({.workers = 1, .step_tokens_max = 32, .encoder = true});
  sim.StartAll();
  ASSERT_TRUE(sim.RunUntilReady(absl::Seconds(20)));
  for (const size_t tokens : {10, 10, 10, 10, 32, 31}) {
    sim.Submit(Embedding(std::vector<int32_t>(tokens, 3), Pooling::kMean));
  }
  const int64_t too_long = sim.Submit(Embedding(std::vector<int32_t>(33, 3), Pooling::kMean));
  GenerateRequest text;
  text.prompt = {1, 2};
  const int64_t generates = sim.Submit(text);
  ASSERT_TRUE(sim.RunUntilIdle(absl::Seconds(20)));
  EXPECT_THAT(sim.errors(), IsEmpty());
  EXPECT_THAT(sim.replies().at(too_long).verdict.message(),
              HasSubstr("the prompt has 33 tokens, this encoder reads at most 32 at once"));
  EXPECT_THAT(sim.replies().at(generates).verdict.message(), HasSubstr("generates no text"));
  EXPECT_LE(sim.core().State().steps_total, 5);
}

}  // namespace
}  // namespace barn
