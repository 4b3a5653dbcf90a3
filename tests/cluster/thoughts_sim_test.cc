// Answers whose thoughts have a limit, on simulated clusters: whatever happens on the way, the tokens are those of a
// loop in plain words.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "coordinator/text/tools/thought_limit.h"
#include "tests/cluster/sim_cluster.h"

namespace barn {
namespace {

using ::testing::IsEmpty;

constexpr int32_t kBegin = 11, kEnd = 12;  // Tokens that open and close thoughts.

std::vector<int32_t> PlainAnswer(const FakeModel& model, const GenerateRequest& request) {
  const ThoughtLimit& limit = *request.thoughts;
  std::vector<int32_t> tokens = request.prompt, answer;
  const auto say = [&](int32_t token) {
    if (static_cast<int64_t>(answer.size()) == request.max_tokens) return;
    answer.push_back(token);
    tokens.push_back(token);
  };
  bool inside = limit.begun, over = false;
  int64_t thought = 0;
  while (static_cast<int64_t>(answer.size()) < request.max_tokens) {
    const int32_t token = model.Answer(tokens, 1, {})[0];
    say(token);
    if (over) continue;
    if (inside) {
      ++thought;
      if (token == kEnd) {
        inside = false;
        over = !limit.again;
      }
    } else if (token == kBegin && (limit.again || answer.size() == 1)) {
      inside = true;
    } else {
      over = !limit.again;
    }
    if (!inside || thought < limit.tokens) continue;
    for (const int32_t id : limit.closing) say(id);
    inside = false;
    over = !limit.again;
  }
  return answer;
}

TEST(ThoughtsSim, ThoughtsEndAtTheirLimitWhateverHappens) {
  const std::unique_ptr<Tokenizer> tokenizer = NumberTokenizer();
  int64_t closed = 0, preemptions = 0, recovered = 0, accepted = 0;
  for (uint64_t seed = 1; seed <= 150; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    std::mt19937_64 random(seed);
    const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
    SimOptions options{.workers = pick(1, 3), .ranks = pick(0, 2) == 0, .seed = seed, .kv_blocks = pick(16, 60)};
    options.step_tokens_max = pick(1, 48);
    options.vocabulary = pick(0, 1) == 0 ? 50 : 16;  // Marks come by themselves in the small one.
    options.draft = pick(0, 1) == 1;
    SimCluster sim(options);
    sim.StartAll();
    ASSERT_TRUE(sim.RunUntilReady(absl::Seconds(20)));
    for (int i = 0; i < 6; ++i) {
      GenerateRequest request;
      const int prompt = pick(1, 12);
      for (int k = 0; k < prompt; ++k) request.prompt.push_back(pick(0, 15));
      request.max_tokens = pick(1, 40);
      request.ignore_end = true;
      request.sampling.temperature = 0;
      ThoughtLimit limit{.tokens = pick(0, 12),
                         .begin = absl::StrCat("<", kBegin, ">"),
                         .ends = {absl::StrCat("<", kEnd, ">")},
                         .begun = pick(0, 1) == 1,
                         .again = pick(0, 1) == 1,
                         .tokenizer = tokenizer.get()};
      if (limit.begun) limit.tokens = std::max<int64_t>(1, limit.tokens);
      for (int k = pick(1, 4); k > 0; --k) limit.closing.push_back(pick(0, 15));
      request.thoughts = std::make_shared<const ThoughtLimit>(std::move(limit));
      sim.Submit(request);
    }
    if (seed % 4 == 0) {
      sim.RunFor(absl::Milliseconds(300));
      sim.Kill(0, false);
      sim.Restart(0);
    }
    ASSERT_TRUE(sim.RunUntilIdle(absl::Minutes(10)));
    EXPECT_THAT(sim.errors(), IsEmpty());
    preemptions += sim.core().State().preemptions_total;
    recovered += sim.core().State().requests_recovered_total;
    accepted += sim.core().State().draft_accepted_tokens_total;
    for (const auto& [id, reply] : sim.replies()) {
      ASSERT_TRUE(reply.verdict.ok()) << reply.verdict;
      const std::vector<int32_t> answer = PlainAnswer(sim.model(), reply.request);
      EXPECT_EQ(reply.tokens, answer) << "request " << id;
      EXPECT_EQ(reply.finish, FinishReason::kLength) << reply.status;
      closed += answer != sim.model().Answer(reply.request.prompt, reply.request.max_tokens, {}) ? 1 : 0;
    }
    if (HasFailure()) return;
  }
  EXPECT_GT(closed, 100);
  EXPECT_GT(preemptions, 20);
  EXPECT_GT(recovered, 20);
  EXPECT_GT(accepted, 0);
}

}  // namespace
}  // namespace barn
