// Many streams at once on a cluster whose steps cost what real ones do: who waits how long, and who gets how much.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/cluster/sim_cluster.h"

namespace barn {
namespace {

using ::testing::IsEmpty;

constexpr absl::Duration kStall = absl::Milliseconds(100);  // CoreOptions::stall_max

// About gemma-3-270m on two cores, links at once.
SimOptions LoadOptions(int workers) {
  return {.workers = workers,
          .seed = 3,
          .kv_blocks = 4000,
          .kv_block_tokens = 32,
          .step_tokens_max = 512,
          .sequence_tokens_max = 8192,
          .delay_max = absl::Microseconds(100),
          .compute_max = absl::Milliseconds(1),
          .compute_step = absl::Milliseconds(5),
          .compute_row = absl::Microseconds(600)};
}

GenerateRequest Request(std::mt19937_64& random, int prompt_tokens, int64_t max_tokens, Tenant tenant) {
  GenerateRequest request;
  for (int i = 0; i < prompt_tokens; ++i) {
    request.prompt.push_back(std::uniform_int_distribution<int>(0, 49)(random));
  }
  request.max_tokens = max_tokens;
  request.ignore_end = true;
  request.sampling.temperature = 0;
  request.tenant = std::move(tenant);
  return request;
}

// Times between the tokens of each answer, in seconds, ascending.
std::vector<double> Gaps(const SimCluster& sim, int64_t prompt_tokens_max) {
  std::vector<double> gaps;
  for (const auto& [id, reply] : sim.replies()) {
    if (static_cast<int64_t>(reply.request.prompt.size()) > prompt_tokens_max) continue;
    for (size_t i = 1; i < reply.times.size(); ++i) {
      gaps.push_back(absl::ToDoubleSeconds(reply.times[i] - reply.times[i - 1]));
    }
  }
  std::sort(gaps.begin(), gaps.end());
  return gaps;
}

// Streams that each ask again when an answer ends, for `duration`; with a long prompt every second if `long_prompts`.
void Serve(SimCluster& sim, int streams, bool long_prompts, absl::Duration duration) {
  sim.StartAll();
  ASSERT_TRUE(sim.RunUntilReady(absl::Seconds(10)));
  std::mt19937_64& random = sim.random();
  const auto ask = [&sim, &random] {
    const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
    sim.Submit(Request(random, pick(5, 60), pick(20, 200), {}));
  };
  sim.OnEnd([&sim, ask](int64_t id) {
    if (sim.replies().at(id).request.prompt.size() < 1000) ask();
  });
  for (int i = 0; i < streams; ++i) ask();
  const absl::Time start = sim.now();
  for (int second = 2; long_prompts && absl::Seconds(second) < duration; ++second) {
    sim.At(start + absl::Seconds(second), [&sim, &random] { sim.Submit(Request(random, 6000, 8, {})); });
  }
  sim.RunFor(duration);
  sim.OnEnd(nullptr);
  EXPECT_THAT(sim.errors(), IsEmpty());
}

TEST(LoadSim, LongPromptsDoNotStallManyStreams) {
  for (const int workers : {1, 2}) {
    SimCluster quiet(LoadOptions(workers)), loaded(LoadOptions(workers));
    Serve(quiet, 64, false, absl::Seconds(12));
    Serve(loaded, 64, true, absl::Seconds(12));
    const std::vector<double> without = Gaps(quiet, 1000), with = Gaps(loaded, 1000);
    ASSERT_GT(without.size(), 5000u);
    ASSERT_GT(with.size(), 5000u);
    const double p99_without = without[without.size() * 99 / 100], p99_with = with[with.size() * 99 / 100];
    EXPECT_LE(p99_with, 1.5 * p99_without) << workers << " workers: " << p99_without << " s without long prompts";
    // The long prompts get on all the same.
    int64_t long_tokens = 0;
    for (const auto& [id, reply] : loaded.replies()) {
      if (reply.request.prompt.size() >= 1000) long_tokens += reply.prompt_tokens_done;
    }
    EXPECT_GT(long_tokens, 1000);
  }
}

TEST(LoadSim, AFewStreamsWaitNoLongerThanTheStall) {
  for (const int workers : {1, 2, 3}) {
    SimCluster sim(LoadOptions(workers));
    Serve(sim, 3, true, absl::Seconds(12));
    const std::vector<double> gaps = Gaps(sim, 1000);
    ASSERT_GT(gaps.size(), 200u);
    // A step of 3 rows on each stage, and the stall.
    const double plain_s = workers * 0.008;
    EXPECT_LT(gaps[gaps.size() * 99 / 100], plain_s + absl::ToDoubleSeconds(kStall)) << workers;
    const auto longer =
        gaps.end() - std::upper_bound(gaps.begin(), gaps.end(), plain_s + absl::ToDoubleSeconds(kStall));
    EXPECT_LE(longer, 3) << "the first chunks, before anything is measured";
  }
}

// Two keys with weights 3 and 1, as many streams each, more than may run: tokens in this proportion.
TEST(LoadSim, KeysGetTheirShares) {
  SimOptions options = LoadOptions(1);
  options.running_max = 16;
  SimCluster sim(options);
  sim.StartAll();
  ASSERT_TRUE(sim.RunUntilReady(absl::Seconds(10)));
  std::mt19937_64& random = sim.random();
  const auto ask = [&sim, &random](const Tenant& tenant) {
    const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
    const bool big = tenant.name == "big";
    sim.Submit(Request(random, big ? pick(5, 300) : pick(5, 60), pick(20, 200), tenant));
  };
  sim.OnEnd([&sim, ask](int64_t id) { ask(sim.replies().at(id).request.tenant); });
  for (int i = 0; i < 32; ++i) {
    ask({.name = "big", .weight = 3});
    ask({.name = "small", .weight = 1});
  }
  sim.RunFor(absl::Seconds(120));
  sim.OnEnd(nullptr);
  std::map<std::string, double> tokens;
  for (const auto& [id, reply] : sim.replies()) {
    if (reply.tokens.empty()) continue;
    tokens[reply.request.tenant.name] += static_cast<double>(reply.request.prompt.size() + reply.tokens.size() - 1);
  }
  const double share = tokens["big"] / (tokens["big"] + tokens["small"]);
  EXPECT_NEAR(share, 0.75, 0.075);
  EXPECT_THAT(sim.errors(), IsEmpty());
}

}  // namespace
}  // namespace barn
