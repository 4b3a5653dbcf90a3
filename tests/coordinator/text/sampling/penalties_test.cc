#include "coordinator/text/sampling/penalties.h"

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <random>

namespace barn {
namespace {

struct Reference {
  int64_t repetition_window = kRepetitionWindowTokens;
  int64_t generated_window = INT64_MAX;
};

// Counts all anew.
std::map<int32_t, LogitEdit> Recount(const SamplingParams& params, std::span<const int32_t> tokens, int64_t prompt,
                                     const Reference& windows) {
  std::map<int32_t, int> generated;
  std::map<int32_t, LogitEdit> edits;
  for (int64_t i = 0; i < std::ssize(tokens); ++i) {
    const int64_t age = std::ssize(tokens) - i;  // 1 for the newest.
    if (i >= prompt && age <= windows.generated_window) ++generated[tokens[i]];
    if (age <= windows.repetition_window && params.repetition_penalty != 1) {
      edits[tokens[i]].repetition = static_cast<float>(params.repetition_penalty);
    }
  }
  for (const auto& [id, count] : generated) {
    const double add = -params.presence_penalty - params.frequency_penalty * count;
    if (add != 0) edits[id].add = static_cast<float>(add);
  }
  return edits;
}

TEST(Penalties, CountAsARecountWould) {
  struct Case {
    std::optional<int64_t> last_n;
    Reference windows;
  };
  const Case cases[] = {{std::nullopt, {}}, {0, {0, 0}}, {1, {1, 1}}, {17, {17, 17}}, {-1, {65536, INT64_MAX}}};
  std::mt19937 random(3);
  for (const Case& c : cases) {
    for (const double repetition : {1.0, 1.5}) {
      SamplingParams params;
      params.repetition_penalty = repetition;
      params.presence_penalty = 0.5;
      params.frequency_penalty = 0.25;
      params.repeat_last_n = c.last_n;
      Penalties penalties(params);
      std::vector<int32_t> tokens;
      for (int i = 0; i < 100; ++i) {
        for (size_t more = random() % 4; more > 0; --more) tokens.push_back(static_cast<int32_t>(random() % 12));
        penalties.Update(tokens, 40);
        std::vector<LogitEdit> edits;
        penalties.AddEdits(edits);
        const std::map<int32_t, LogitEdit> expected = Recount(params, tokens, 40, c.windows);
        ASSERT_EQ(edits.size(), expected.size()) << c.last_n.value_or(-2) << " after " << tokens.size();
        auto next = expected.begin();
        for (const LogitEdit& edit : edits) {
          EXPECT_EQ(edit.id, next->first);
          EXPECT_FLOAT_EQ(edit.add, next->second.add);
          EXPECT_EQ(edit.repetition, next->second.repetition);
          ++next;
        }
      }
    }
  }
}

TEST(Penalties, AreOffWithoutTheirLink) {
  SamplingParams params;
  params.repetition_penalty = 1.5;
  EXPECT_TRUE(Penalties(params).active());
  params.samplers = {SamplerKind::kTopK};
  EXPECT_FALSE(Penalties(params).active());
}

}  // namespace
}  // namespace barn
