#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/cluster/sim_cluster.h"

namespace barn {
namespace {

using ::testing::IsEmpty;

GenerateRequest Request(std::mt19937_64& random, int prompt_max, int tokens_max) {
  GenerateRequest request;
  const int prompt = std::uniform_int_distribution<int>(1, prompt_max)(random);
  for (int i = 0; i < prompt; ++i) request.prompt.push_back(std::uniform_int_distribution<int>(0, 49)(random));
  request.max_tokens = std::uniform_int_distribution<int>(0, tokens_max)(random);
  request.sampling.temperature = 0;
  return request;
}

// Of one of three tenants, and often beginning like another.
GenerateRequest TeamRequest(std::mt19937_64& random, int prompt_max, int tokens_max) {
  const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
  GenerateRequest request = Request(random, prompt_max, tokens_max);
  if (pick(0, 1) == 0) {
    std::fill_n(request.prompt.begin(), pick(0, static_cast<int>(request.prompt.size())), pick(1, 2));
  }
  const int tenant = pick(0, 2);
  request.tenant = {.name = absl::StrCat("t", tenant), .weight = 1 + tenant, .priority = pick(0, 3) == 0 ? 1 : 0};
  if (pick(0, 15) == 0) request.timeout = absl::Milliseconds(pick(1, 4000));
  if (pick(0, 5) == 0) request.score_from = pick(0, 20);
  return request;
}

// Every prompt token that was to be scored, once and in order.
void ExpectTrueScores(const SimReply& reply) {
  if (reply.request.score_from < 0) {
    EXPECT_THAT(reply.scores, IsEmpty());
    return;
  }
  int64_t index = std::max<int64_t>(1, reply.request.score_from);
  for (const PromptScore& score : reply.scores) {
    EXPECT_EQ(score.index, index);
    EXPECT_EQ(score.id, reply.request.prompt[index]);
    ++index;
  }
  if (!reply.tokens.empty()) {
    EXPECT_GE(index, static_cast<int64_t>(reply.request.prompt.size()));
  }
}

// Every reply is the answer of the fake model, or a beginning of it where the request was cut off: by its own timeout,
// or by several losses in a row.
void ExpectTrueReplies(const SimCluster& sim, bool losses_may_end_it = false) {
  for (const auto& [id, reply] : sim.replies()) {
    if (!reply.verdict.ok()) continue;
    const std::vector<int32_t> answer = sim.model().Answer(reply.request.prompt, reply.request.max_tokens, {7});
    ASSERT_LE(reply.tokens.size(), answer.size()) << "request " << id;
    EXPECT_TRUE(std::equal(reply.tokens.begin(), reply.tokens.end(), answer.begin())) << "request " << id;
    EXPECT_EQ(reply.ends, 1) << "request " << id;
    ExpectTrueScores(reply);
    if (reply.finish == FinishReason::kLength || reply.finish == FinishReason::kEnd) {
      EXPECT_EQ(reply.tokens, answer) << "request " << id;
      const bool ended = !answer.empty() && answer.back() == 7;
      EXPECT_EQ(reply.finish, ended ? FinishReason::kEnd : FinishReason::kLength) << "request " << id;
    }
    if (reply.finish != FinishReason::kError) continue;
    const bool late = reply.status.code() == absl::StatusCode::kDeadlineExceeded;
    EXPECT_TRUE(late || (losses_may_end_it && reply.status.code() == absl::StatusCode::kUnavailable)) << reply.status;
    EXPECT_TRUE(!late || reply.request.timeout < absl::Hours(1));
  }
}

SimOptions RandomOptions(uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
  SimOptions options;
  options.seed = seed;
  options.workers = pick(1, 4);
  options.kv_blocks = pick(16, 80);
  options.kv_block_tokens = pick(2, 8);
  options.step_tokens_max = pick(1, 64);
  options.waiting_max = pick(4, 40);
  options.delay_max = absl::Milliseconds(pick(0, 50));
  options.compute_max = absl::Milliseconds(pick(0, 30));
  // A rank that stalls would stall the others, which fake ones do not.
  options.ranks = seed % 8 != 7 && pick(0, 2) == 0;
  options.draft = pick(0, 1) == 1;
  if (seed % 4 == 1) options.stream_break = 0.003;
  if (seed % 4 == 2) options.step_failure = 0.01;
  if (seed % 8 == 3) options.garbage = 0.01;
  if (seed % 8 == 7) options.step_stall = 0.01;
  return options;
}

// Requests come, some leave; workers die, hang and come back. Runs to the end of all requests and heals the cluster.
void Chaos(SimCluster& sim, int workers, uint64_t seed) {
  sim.StartAll();
  sim.RunUntilReady(absl::Seconds(20));
  std::mt19937_64& random = sim.random();
  const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
  const int requests = pick(1, 24);
  for (int i = 0; i < requests; ++i) {
    sim.At(sim.now() + absl::Milliseconds(pick(0, 3000)), [&sim, &random, pick] {
      const int64_t id = sim.Submit(TeamRequest(random, 40, 20));
      if (pick(0, 3) == 0) sim.At(sim.now() + absl::Milliseconds(pick(0, 1500)), [&sim, id] { sim.Cancel(id); });
    });
  }
  if (seed % 3 == 0) {
    const int worker = pick(0, workers - 1);
    sim.At(sim.now() + absl::Milliseconds(pick(0, 2500)),
           [&sim, worker, silent = pick(0, 1) == 1] { sim.Kill(worker, silent); });
    sim.At(sim.now() + absl::Milliseconds(pick(2600, 9000)), [&sim, worker] { sim.Restart(worker); });
  }
  sim.RunFor(absl::Seconds(4));
  EXPECT_TRUE(sim.RunUntilIdle(absl::Minutes(10)));
}

TEST(ClusterSim, ThousandsOfHistoriesKeepEveryPromise) {
  for (uint64_t seed = 1; seed <= 4000; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    const SimOptions options = RandomOptions(seed);
    SimCluster sim(options);
    Chaos(sim, options.workers, seed);
    // Healed, it serves again, with every block back in the pool.
    sim.Calm();
    sim.RunFor(absl::Seconds(30));
    EXPECT_TRUE(sim.RunUntilReady(absl::Seconds(30))) << sim.core().State().reason;
    std::mt19937_64 random(seed);
    const int64_t last = sim.Submit(Request(random, 10, 10));
    EXPECT_TRUE(sim.RunUntilIdle(absl::Minutes(1)));
    EXPECT_TRUE(sim.replies().at(last).finish == FinishReason::kLength ||
                sim.replies().at(last).finish == FinishReason::kEnd);
    sim.RunFor(absl::Seconds(1));
    const EngineState state = sim.core().State();
    EXPECT_EQ(state.kv_blocks_free, state.kv_blocks_total);
    EXPECT_EQ(state.running + state.waiting, 0);
    EXPECT_LE(sim.steps_in_flight_max(), std::max(options.workers, 2));
    EXPECT_THAT(sim.errors(), IsEmpty());
    // A worker that dies once and comes back ends no request.
    ExpectTrueReplies(sim, /*losses_may_end_it=*/seed % 4 != 0);
    if (HasFailure()) return;
  }
}

TEST(ClusterSim, TheSameSeedGivesTheSameActions) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    const SimOptions options = RandomOptions(seed);
    SimCluster first(options), second(options);
    Chaos(first, options.workers, seed);
    Chaos(second, options.workers, seed);
    EXPECT_EQ(first.fingerprint(), second.fingerprint()) << "seed " << seed;
    EXPECT_EQ(first.now(), second.now()) << "seed " << seed;
  }
}

TEST(ClusterSim, ConcurrentRequestsGetTheSameTokensAsOneAtATime) {
  for (int workers = 1; workers <= 3; ++workers) {
    SimOptions options{.workers = workers, .seed = 7, .kv_blocks = 600, .step_tokens_max = 64};
    std::mt19937_64 random(workers);
    std::vector<GenerateRequest> requests;
    for (int i = 0; i < 32; ++i) requests.push_back(Request(random, 60, 30));

    SimCluster together(options);
    together.StartAll();
    ASSERT_TRUE(together.RunUntilReady(absl::Seconds(10)));
    for (const GenerateRequest& request : requests) together.Submit(request);
    ASSERT_TRUE(together.RunUntilIdle(absl::Minutes(5)));

    SimCluster alone(options);
    alone.StartAll();
    ASSERT_TRUE(alone.RunUntilReady(absl::Seconds(10)));
    for (const GenerateRequest& request : requests) {
      alone.Submit(request);
      ASSERT_TRUE(alone.RunUntilIdle(absl::Minutes(5)));
    }
    for (size_t i = 1; i <= requests.size(); ++i) {
      EXPECT_EQ(together.replies().at(i).tokens, alone.replies().at(i).tokens) << "request " << i;
    }
    EXPECT_THAT(together.errors(), IsEmpty());
    EXPECT_THAT(alone.errors(), IsEmpty());
    ExpectTrueReplies(together);
    ExpectTrueReplies(alone);
    // Work in flight on every stage, and never more; one stage has the next step of greedy sequences waiting.
    EXPECT_EQ(together.steps_in_flight_max(), std::max(workers, 2));
  }
}

TEST(ClusterSim, SeveralStagesWorkAtTheSameTime) {
  // Fixed times: 10 ms for a step on each stage, messages at once. 8 requests decode 20 tokens each.
  SimOptions options{.workers = 2, .seed = 3, .kv_blocks = 200, .delay_max = absl::ZeroDuration()};
  SimCluster sim(options);
  sim.StartAll();
  ASSERT_TRUE(sim.RunUntilReady(absl::Seconds(10)));
  GenerateRequest request;
  request.prompt = {1};
  request.max_tokens = 40;
  request.ignore_end = true;
  request.sampling.temperature = 0;
  for (int i = 0; i < 8; ++i) sim.Submit(request);
  const int64_t steps_before = sim.core().State().steps_total;
  ASSERT_TRUE(sim.RunUntilIdle(absl::Minutes(1)));
  // Two micro-batches of four sequences each: twice as many steps as tokens, not eight times.
  EXPECT_NEAR(sim.core().State().steps_total - steps_before, 2 * 40, 8);
  EXPECT_EQ(sim.steps_in_flight_max(), 2);
}

TEST(ClusterSim, RanksTakeOneStepAfterAnotherAndOneOfThemAnswers) {
  SimOptions options{.workers = 3, .ranks = true, .seed = 3, .kv_blocks = 200};
  SimCluster sim(options);
  sim.StartAll();
  ASSERT_TRUE(sim.RunUntilReady(absl::Seconds(10)));
  std::mt19937_64 random(5);
  for (int i = 0; i < 8; ++i) sim.Submit(Request(random, 20, 20));
  ASSERT_TRUE(sim.RunUntilIdle(absl::Minutes(1)));
  EXPECT_EQ(sim.steps_in_flight_max(), 2) << "one that runs and one that follows";
  EXPECT_THAT(sim.errors(), IsEmpty());
  ExpectTrueReplies(sim);
}

TEST(ClusterSim, AnswersGoOnAfterTheLossOfAWorker) {
  for (const auto& [silent, ranks] : {std::pair{false, false}, {true, false}, {false, true}, {true, true}}) {
    SimCluster sim({.workers = 3, .ranks = ranks, .seed = 11, .compute_max = absl::Milliseconds(200)});
    sim.StartAll();
    ASSERT_TRUE(sim.RunUntilReady(absl::Seconds(10)));
    std::mt19937_64 random(1);
    GenerateRequest request = Request(random, 20, 1);
    request.max_tokens = 100;
    request.ignore_end = true;
    const int64_t id = sim.Submit(request);
    sim.RunFor(absl::Seconds(2));
    EXPECT_GT(sim.replies().at(id).tokens.size(), 0u);
    sim.Kill(1, silent);
    sim.RunFor(absl::Seconds(4));
    EXPECT_FALSE(sim.core().ready());
    EXPECT_EQ(sim.replies().at(id).ends, 0);
    sim.Restart(1);
    EXPECT_TRUE(sim.RunUntilReady(absl::Seconds(10)));
    ASSERT_TRUE(sim.RunUntilIdle(absl::Minutes(2)));
    EXPECT_EQ(sim.replies().at(id).tokens, sim.model().Answer(request.prompt, 100, {}));
    EXPECT_EQ(sim.replies().at(id).finish, FinishReason::kLength);
    EXPECT_EQ(sim.core().State().requests_recovered_total, 1);
    EXPECT_THAT(sim.errors(), IsEmpty());
  }
}

TEST(ClusterSim, WhereNoWorkerComesBackRequestsEndInTime) {
  SimCluster sim({.workers = 2, .seed = 4});
  sim.StartAll();
  ASSERT_TRUE(sim.RunUntilReady(absl::Seconds(10)));
  GenerateRequest request;
  request.prompt = {1, 2, 3};
  request.max_tokens = 200;
  request.ignore_end = true;
  const int64_t id = sim.Submit(request);
  sim.RunFor(absl::Milliseconds(500));
  sim.Kill(0, false);
  EXPECT_FALSE(sim.RunUntilIdle(absl::Seconds(119)));
  ASSERT_TRUE(sim.RunUntilIdle(absl::Seconds(2)));
  EXPECT_EQ(sim.replies().at(id).status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(sim.errors(), IsEmpty());
}

// 12 requests of 60 positions each on a pool of 160: they share it by turns, and nobody gets an error.
TEST(ClusterSim, WhereBlocksRunOutRequestsWaitTheirTurn) {
  for (int workers = 1; workers <= 3; ++workers) {
    SimCluster sim({.workers = workers, .seed = 5, .kv_blocks = 40});
    sim.StartAll();
    ASSERT_TRUE(sim.RunUntilReady(absl::Seconds(10)));
    std::mt19937_64 random(workers);
    for (int i = 0; i < 12; ++i) {
      GenerateRequest request = Request(random, 10, 1);
      request.max_tokens = 50;
      request.sampling.temperature = 1;
      request.sampling.seed = i;
      request.ignore_end = true;
      sim.Submit(request);
    }
    ASSERT_TRUE(sim.RunUntilIdle(absl::Minutes(5)));
    EXPECT_GT(sim.core().State().preemptions_total, 0);
    // With room for all, the same seeds draw the same tokens.
    SimCluster roomy({.workers = workers, .seed = 5, .kv_blocks = 400});
    roomy.StartAll();
    ASSERT_TRUE(roomy.RunUntilReady(absl::Seconds(10)));
    for (const auto& [id, reply] : sim.replies()) roomy.Submit(reply.request);
    ASSERT_TRUE(roomy.RunUntilIdle(absl::Minutes(5)));
    EXPECT_EQ(roomy.core().State().preemptions_total, 0);
    for (const auto& [id, reply] : sim.replies()) EXPECT_EQ(reply.tokens, roomy.replies().at(id).tokens) << id;
    EXPECT_THAT(sim.errors(), IsEmpty());
    EXPECT_THAT(roomy.errors(), IsEmpty());
  }
}

// A banned string takes tokens back, also over blocks that are published, whatever else happens to the request.
TEST(ClusterSim, WhatIsTakenBackIsComputedAnew) {
  const std::unique_ptr<Tokenizer> tokenizer = NumberTokenizer();
  int64_t preemptions = 0, recovered = 0;
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    const SimOptions options = RandomOptions(seed);
    std::mt19937_64 random(seed);
    std::vector<GenerateRequest> requests;
    for (int i = 0; i < 8; ++i) {
      GenerateRequest request = TeamRequest(random, 12, 40);
      request.timeout = absl::Hours(24);
      request.sampling.temperature = i % 2;
      request.sampling.seed = i;
      request.sampling.tokenizer = tokenizer.get();
      // Any token may begin one of these; which numbers go on decides.
      for (int k = 0; k < 6; ++k) {
        const auto digit = [&] { return std::uniform_int_distribution<int>(0, 9)(random); };
        request.sampling.banned_strings.push_back(absl::StrCat(digit(), "><", digit()));
        request.sampling.banned_strings.push_back(absl::StrCat(digit(), "><", digit(), digit(), "><", digit()));
      }
      requests.push_back(request);
    }
    SimOptions calm{.workers = 1, .seed = 1, .kv_blocks = 600, .step_tokens_max = 64};
    SimCluster alone(calm), together(options);
    for (SimCluster* sim : {&alone, &together}) {
      sim->StartAll();
      sim->RunUntilReady(absl::Seconds(20));
      for (const GenerateRequest& request : requests) sim->Submit(request);
      if (seed % 4 == 0 && sim == &together) {
        sim->RunFor(absl::Milliseconds(500));
        sim->Kill(0, false);
        sim->Restart(0);
      }
      EXPECT_TRUE(sim->RunUntilIdle(absl::Minutes(10)));
      EXPECT_THAT(sim->errors(), IsEmpty());
    }
    preemptions += together.core().State().preemptions_total;
    recovered += together.core().State().requests_recovered_total;
    for (const auto& [id, reply] : together.replies()) {
      if (!reply.verdict.ok() || reply.finish == FinishReason::kError) continue;  // The queue was full, or it was lost.
      EXPECT_EQ(reply.tokens, alone.replies().at(id).tokens) << "request " << id;
      EXPECT_EQ(reply.finish, alone.replies().at(id).finish) << "request " << id;
      std::string text;
      for (const int32_t token : reply.tokens) absl::StrAppend(&text, "<", token, ">");
      for (const std::string& banned : reply.request.sampling.banned_strings) {
        EXPECT_FALSE(absl::StrContains(text, banned)) << banned << " in " << text;
      }
    }
    if (HasFailure()) return;
  }
  EXPECT_GT(preemptions, 20);
  EXPECT_GT(recovered, 20);
}

TEST(ClusterSim, AlikePromptsAreComputedOnce) {
  for (int workers = 1; workers <= 3; ++workers) {
    SimCluster sim({.workers = workers, .seed = 9, .kv_blocks = 400, .step_tokens_max = 16});
    sim.StartAll();
    ASSERT_TRUE(sim.RunUntilReady(absl::Seconds(10)));
    GenerateRequest request;
    for (int i = 0; i < 102; ++i) request.prompt.push_back(i * i % 50);
    request.max_tokens = 6;
    request.ignore_end = true;
    for (int i = 0; i < 8; ++i) {
      request.sampling.seed = i;
      sim.Submit(request);
    }
    ASSERT_TRUE(sim.RunUntilIdle(absl::Minutes(5)));
    // 25 full blocks of 4 are shared, the last two tokens are everybody's own.
    EXPECT_EQ(sim.core().State().prompt_tokens_total, 100 + 8 * 2);
    EXPECT_EQ(sim.core().State().prefix_cache_hits_total, 7 * 100);
    EXPECT_EQ(sim.replies().at(1).cached_tokens, 0);
    EXPECT_EQ(sim.replies().at(2).cached_tokens, 100);
    // Later, and of another tenant.
    sim.Submit(request);
    ASSERT_TRUE(sim.RunUntilIdle(absl::Minutes(5)));
    EXPECT_EQ(sim.core().State().prompt_tokens_total, 100 + 9 * 2);
    EXPECT_EQ(sim.replies().at(8).tokens, sim.replies().at(9).tokens);
    request.tenant.name = "another";
    sim.Submit(request);
    ASSERT_TRUE(sim.RunUntilIdle(absl::Minutes(5)));
    EXPECT_EQ(sim.core().State().prompt_tokens_total, 100 + 9 * 2 + 102);
    EXPECT_EQ(sim.replies().at(8).tokens, sim.replies().at(10).tokens);
    EXPECT_THAT(sim.errors(), IsEmpty());
  }
}

// In a vocabulary of three, whatever was just said was said before, and a third of the guesses come true. The answers
// are those without guesses, on every number of stages, where blocks run out, and with sequences of every sort beside
// each other.
TEST(ClusterSim, GuessesChangeNoToken) {
  int64_t fewer_steps = 0, preemptions = 0;
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    std::map<int64_t, std::vector<int32_t>> answers[2];
    for (const bool draft : {false, true}) {
      SimOptions options = RandomOptions(seed);
      options.stream_break = options.step_failure = options.garbage = options.step_stall = 0;
      options.vocabulary = 3;
      options.draft = draft;
      options.step_tokens_max = 16;
      SimCluster sim(options);
      sim.StartAll();
      ASSERT_TRUE(sim.RunUntilReady(absl::Seconds(20)));
      std::mt19937_64 random(seed);
      for (int i = 0; i < 6; ++i) {
        GenerateRequest request = Request(random, 20, 40);
        for (int32_t& id : request.prompt) id %= 3;
        request.sampling.temperature = i % 2;
        request.sampling.seed = seed + static_cast<uint64_t>(i);
        if (i == 4) request.sampling.presence_penalty = 0.5;
        sim.Submit(request);
      }
      ASSERT_TRUE(sim.RunUntilIdle(absl::Minutes(5))) << "seed " << seed;
      EXPECT_THAT(sim.errors(), IsEmpty()) << "seed " << seed;
      for (const auto& [id, reply] : sim.replies()) answers[draft][id] = reply.tokens;
      const EngineState state = sim.core().State();
      EXPECT_LE(state.draft_accepted_tokens_total, state.draft_tokens_total);
      if (!draft) {
        EXPECT_EQ(state.draft_tokens_total, 0) << "seed " << seed;
      } else if (state.steps_total > 30) {
        EXPECT_GT(state.draft_tokens_total, 0) << "seed " << seed;
      }
      fewer_steps += (draft ? -1 : 1) * state.steps_total;
      preemptions += draft ? state.preemptions_total : 0;
    }
    EXPECT_EQ(answers[0], answers[1]) << "seed " << seed;
  }
  EXPECT_GT(fewer_steps, 300);
  EXPECT_GT(preemptions, 0);
}

}  // namespace
}  // namespace barn
