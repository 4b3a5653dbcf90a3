// Several models on shared workers: who is loaded, and that every answer is its own model's, over many histories.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_format.h"
#include "tests/cluster/sim_fleet.h"

namespace barn {
namespace {

using Phase = ModelStanding::Phase;

// Two of the first two fit together on two workers of 200 bytes; each takes 60 + 10 of both.
SimFleetOptions Small(std::vector<SimModel> models) { return {.workers = 2, .memory_bytes = 150, .models = models}; }

std::vector<int32_t> Prompt(std::mt19937_64& random) {
  std::vector<int32_t> prompt(1 + random() % 20);
  for (int32_t& token : prompt) token = static_cast<int32_t>(random() % 50);
  return prompt;
}

void ExpectRight(const SimFleet& sim) {
  EXPECT_THAT(sim.errors(), ::testing::IsEmpty());
  for (const auto& [number, result] : sim.uses()) {
    EXPECT_TRUE(result.verdict.ok()) << number << ": " << result.verdict;
    EXPECT_TRUE(result.request.ok()) << number << ": " << result.request;
    EXPECT_EQ(result.tokens, sim.Answer(result.use)) << number << " of model " << result.use.model;
  }
}

void UseAndWait(SimFleet& sim, int64_t model) {
  sim.Use({.model = model, .prompt = {3, 1, 4}});
  ASSERT_TRUE(sim.RunUntilIdle(absl::Minutes(1)));
  sim.RunFor(absl::Seconds(1));
}

// Five models, of which two or three fit at a time, forty users, and workers that die.
void RunHistory(uint64_t seed, int deaths) {
  SimFleetOptions options{.workers = 1 + static_cast<int>(seed % 3),
                          .seed = seed,
                          .memory_bytes = 250,
                          .models = {{.layer_bytes = 3, .vocabulary = 50, .pinned = seed % 2 == 0},
                                     {.layer_bytes = 7, .vocabulary = 53},
                                     {.layer_bytes = 12, .vocabulary = 59, .keep_alive = absl::Seconds(2)},
                                     {.layer_bytes = 15, .vocabulary = 61, .keep_alive = absl::ZeroDuration()},
                                     {.layer_bytes = 10, .vocabulary = 67}}};
  SimFleet sim(options);
  sim.StartAll();
  for (int i = 0; i < 40; ++i) {
    const auto model = static_cast<int64_t>(1 + sim.random()() % 5);
    sim.At(sim.now() + absl::Milliseconds(sim.random()() % 20000), [&sim, model, i] {
      const int64_t use =
          sim.Use({.model = model, .prompt = Prompt(sim.random()), .max_tokens = static_cast<int64_t>(1 + i % 30)});
      if (i % 10 == 9) {
        sim.At(sim.now() + absl::Milliseconds(sim.random()() % 1000), [&sim, use] { sim.GiveUp(use); });
      }
    });
  }
  for (int i = 0; i < deaths; ++i) {
    const auto worker = static_cast<int>(sim.random()() % options.workers);
    const absl::Time when = sim.now() + absl::Milliseconds(sim.random()() % 20000);
    sim.At(when, [&sim, worker] { sim.Kill(worker); });
    sim.At(when + absl::Milliseconds(500 + sim.random()() % 3000), [&sim, worker] { sim.Restart(worker); });
  }
  sim.RunFor(absl::Seconds(25));
  ASSERT_TRUE(sim.RunUntilIdle(absl::Minutes(5))) << "seed " << seed;
  EXPECT_THAT(sim.errors(), ::testing::IsEmpty()) << "seed " << seed;
  ASSERT_EQ(sim.uses().size(), 40u);
  int whole = 0;
  for (const auto& [number, result] : sim.uses()) {
    const std::vector<int32_t> answer = sim.Answer(result.use);
    ASSERT_LE(result.tokens.size(), answer.size()) << "seed " << seed << ", use " << number;
    EXPECT_TRUE(std::equal(result.tokens.begin(), result.tokens.end(), answer.begin()))
        << "seed " << seed << ", use " << number << " of model " << result.use.model;
    // Who asks in the moment in which a worker is lost is told to come again.
    const bool lost = deaths > 0 && absl::IsUnavailable(result.request) && result.tokens.empty();
    EXPECT_TRUE(result.verdict.ok() && (result.request.ok() || lost))
        << "seed " << seed << ", use " << number << ": " << result.verdict << ", " << result.request;
    whole += result.tokens == answer ? 1 : 0;
  }
  EXPECT_GE(whole, deaths > 0 ? 30 : 36) << "seed " << seed;  // Four give up.
  // Nobody uses anything any more: in the end what is neither pinned nor used lately is gone.
  sim.RunFor(absl::Minutes(6));
  for (int64_t model = 1; model <= 5; ++model) {
    EXPECT_EQ(sim.Phase(model), model == 1 && seed % 2 == 0 ? Phase::kReady : Phase::kUnloaded) << "seed " << seed;
  }
}

TEST(FleetSim, EveryAnswerIsItsModels) {
  for (uint64_t seed = 1; seed <= 100; ++seed) RunHistory(seed, 0);
}

TEST(FleetSim, AnswersOutliveWorkers) {
  for (uint64_t seed = 1001; seed <= 1100; ++seed) RunHistory(seed, 3);
}

TEST(FleetSim, TheLongestUnusedMakesRoom) {
  SimFleet sim(Small({{.vocabulary = 50}, {.vocabulary = 53}, {.vocabulary = 59}}));
  sim.StartAll();
  UseAndWait(sim, 1);
  UseAndWait(sim, 2);
  EXPECT_EQ(sim.Phase(1), Phase::kReady);
  EXPECT_EQ(sim.Phase(2), Phase::kReady);
  UseAndWait(sim, 1);
  UseAndWait(sim, 3);
  EXPECT_EQ(sim.Phase(1), Phase::kReady);
  EXPECT_EQ(sim.Phase(2), Phase::kUnloaded);
  EXPECT_EQ(sim.Phase(3), Phase::kReady);
  UseAndWait(sim, 2);
  EXPECT_EQ(sim.Phase(1), Phase::kUnloaded);
  ExpectRight(sim);
}

TEST(FleetSim, APinnedModelStays) {
  SimFleet sim(Small({{.vocabulary = 50, .pinned = true}, {.vocabulary = 53}, {.vocabulary = 59}}));
  sim.StartAll();
  sim.RunFor(absl::Seconds(2));
  EXPECT_EQ(sim.Phase(1), Phase::kReady);  // Before anybody asks.
  UseAndWait(sim, 2);
  UseAndWait(sim, 3);
  EXPECT_EQ(sim.Phase(1), Phase::kReady);
  EXPECT_EQ(sim.Phase(2), Phase::kUnloaded);
  sim.RunFor(absl::Minutes(10));
  EXPECT_EQ(sim.Phase(1), Phase::kReady);
  EXPECT_EQ(sim.Phase(3), Phase::kUnloaded);
  ExpectRight(sim);
}

TEST(FleetSim, KeepAlive) {
  SimFleet sim(Small({{.vocabulary = 50}, {.vocabulary = 53, .keep_alive = absl::Seconds(30)}}));
  sim.StartAll();
  UseAndWait(sim, 1);
  UseAndWait(sim, 2);
  sim.RunFor(absl::Seconds(27));
  EXPECT_EQ(sim.Phase(2), Phase::kReady);
  sim.RunFor(absl::Seconds(5));
  EXPECT_EQ(sim.Phase(2), Phase::kUnloaded);
  EXPECT_LT(sim.fleet().Standing(1).expires, sim.now() + absl::Minutes(5));
  sim.RunFor(absl::Minutes(5));
  EXPECT_EQ(sim.Phase(1), Phase::kUnloaded);
  // A request's wish stays until the model goes, or another says otherwise.
  sim.Use({.model = 1, .prompt = {5}, .keep_alive = absl::Seconds(-1)});
  ASSERT_TRUE(sim.RunUntilIdle(absl::Minutes(1)));
  UseAndWait(sim, 1);
  sim.RunFor(absl::Hours(3));
  EXPECT_EQ(sim.Phase(1), Phase::kReady);
  EXPECT_EQ(sim.fleet().Standing(1).expires, absl::InfiniteFuture());
  sim.Use({.model = 1, .prompt = {5}, .keep_alive = absl::ZeroDuration()});
  ASSERT_TRUE(sim.RunUntilIdle(absl::Minutes(1)));
  sim.RunFor(absl::Milliseconds(300));
  EXPECT_EQ(sim.Phase(1), Phase::kUnloaded);
  ExpectRight(sim);
}

// Whoever is in use is not cut off, and nobody new keeps it from going.
TEST(FleetSim, AModelInUseLeavesWhenItsAnswersAreDone) {
  SimFleet sim(Small({{.layer_bytes = 20, .vocabulary = 50}, {.layer_bytes = 20, .vocabulary = 53}}));
  sim.StartAll();
  const int64_t first = sim.Use({.model = 1, .prompt = {1, 2}, .max_tokens = 100});
  sim.RunFor(absl::Seconds(1));
  ASSERT_TRUE(sim.uses().at(first).verdict.ok());
  const int64_t other = sim.Use({.model = 2, .prompt = {3}, .max_tokens = 3});
  const int64_t late = sim.Use({.model = 1, .prompt = {4}, .max_tokens = 3});
  sim.RunFor(absl::Milliseconds(200));
  EXPECT_EQ(sim.uses().at(other).verdicts, 0);
  EXPECT_EQ(sim.uses().at(late).verdicts, 0);
  EXPECT_EQ(sim.fleet().Standing(2).phase, Phase::kWaiting);
  ASSERT_TRUE(sim.RunUntilIdle(absl::Minutes(1)));
  EXPECT_LT(sim.uses().at(first).ended, sim.uses().at(other).granted);
  EXPECT_LT(sim.uses().at(other).ended, sim.uses().at(late).granted);
  ExpectRight(sim);
}

TEST(FleetSim, WhoWaitsTooLongIsToldAndTheOtherStays) {
  SimFleet sim(Small({{.layer_bytes = 20, .vocabulary = 50}, {.layer_bytes = 20, .vocabulary = 53}}));
  sim.StartAll();
  const int64_t first = sim.Use({.model = 1, .prompt = {1, 2}, .max_tokens = 200});
  sim.RunFor(absl::Seconds(1));
  const int64_t other = sim.Use({.model = 2, .prompt = {3}, .wait_max = absl::Milliseconds(300)});
  const int64_t at_once = sim.Use({.model = 2, .prompt = {3}, .wait_max = absl::ZeroDuration()});
  EXPECT_TRUE(absl::IsDeadlineExceeded(sim.uses().at(at_once).verdict));
  sim.RunFor(absl::Milliseconds(500));
  EXPECT_TRUE(absl::IsDeadlineExceeded(sim.uses().at(other).verdict));
  const int64_t again = sim.Use({.model = 1, .prompt = {4}, .max_tokens = 3});
  EXPECT_TRUE(sim.uses().at(again).verdict.ok());
  EXPECT_EQ(sim.uses().at(again).verdicts, 1);
  ASSERT_TRUE(sim.RunUntilIdle(absl::Minutes(1)));
  EXPECT_EQ(sim.uses().at(first).tokens, sim.Answer(sim.uses().at(first).use));
  EXPECT_EQ(sim.Phase(1), Phase::kReady);
  EXPECT_THAT(sim.errors(), ::testing::IsEmpty());
}

TEST(FleetSim, WhatCannotBeLoadedLeavesTheOthers) {
  SimFleet sim(Small({{.vocabulary = 50},
                      {.layer_bytes = 1000, .vocabulary = 53},
                      {.vocabulary = 59, .load_error = absl::StatusCode::kDataLoss}}));
  sim.StartAll();
  const int64_t running = sim.Use({.model = 1, .prompt = {1, 2}, .max_tokens = 100});
  sim.RunFor(absl::Seconds(1));
  const int64_t large = sim.Use({.model = 2, .prompt = {3}});
  const int64_t broken = sim.Use({.model = 3, .prompt = {3}});
  const int64_t unknown = sim.Use({.model = 9, .prompt = {3}});
  sim.RunFor(absl::Seconds(1));
  EXPECT_TRUE(absl::IsResourceExhausted(sim.uses().at(large).verdict)) << sim.uses().at(large).verdict;
  EXPECT_TRUE(absl::IsDataLoss(sim.uses().at(broken).verdict)) << sim.uses().at(broken).verdict;
  EXPECT_TRUE(absl::IsNotFound(sim.uses().at(unknown).verdict));
  EXPECT_EQ(sim.Phase(2), Phase::kFailed);
  EXPECT_EQ(sim.Phase(3), Phase::kFailed);
  EXPECT_THAT(sim.fleet().Standing(3).engine.reason, ::testing::HasSubstr("simulated"));
  const int64_t again = sim.Use({.model = 3, .prompt = {3}});
  ASSERT_TRUE(sim.RunUntilIdle(absl::Minutes(1)));
  EXPECT_TRUE(absl::IsDataLoss(sim.uses().at(again).verdict));
  EXPECT_EQ(sim.uses().at(running).tokens, sim.Answer(sim.uses().at(running).use));
  EXPECT_THAT(sim.errors(), ::testing::IsEmpty());
}

TEST(FleetSim, UnloadedWhenAskedAndRemovedForGood) {
  SimFleet sim(Small({{.vocabulary = 50, .pinned = true}, {.vocabulary = 53}}));
  sim.StartAll();
  const int64_t running = sim.Use({.model = 1, .prompt = {1, 2}, .max_tokens = 50});
  sim.RunFor(absl::Seconds(1));
  sim.Ask(ModelUnloadAsked{1});
  EXPECT_EQ(sim.Phase(1), Phase::kReady);  // Its answer first.
  ASSERT_TRUE(sim.RunUntilIdle(absl::Minutes(1)));
  sim.RunFor(absl::Milliseconds(300));
  EXPECT_EQ(sim.Phase(1), Phase::kUnloaded);
  EXPECT_EQ(sim.uses().at(running).tokens, sim.Answer(sim.uses().at(running).use));
  UseAndWait(sim, 1);
  sim.RunFor(absl::Hours(1));
  EXPECT_EQ(sim.Phase(1), Phase::kReady);

  const int64_t cut = sim.Use({.model = 2, .prompt = {1, 2}, .max_tokens = 100});
  sim.RunFor(absl::Seconds(1));
  sim.Ask(ModelRemoved{2});
  sim.RunFor(absl::Seconds(1));
  EXPECT_TRUE(absl::IsUnavailable(sim.uses().at(cut).request)) << sim.uses().at(cut).request;
  EXPECT_EQ(sim.fleet().models(), std::vector<int64_t>{1});
  UseAndWait(sim, 1);
  EXPECT_THAT(sim.errors(), ::testing::IsEmpty());
}

}  // namespace
}  // namespace barn
