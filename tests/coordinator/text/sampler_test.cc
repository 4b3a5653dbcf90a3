#include "coordinator/text/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "absl/strings/match.h"

namespace barn {
namespace {

using Counts = std::map<int32_t, int>;

double LogSumExp(const std::vector<Candidate>& candidates) {
  double sum = 0;
  for (const Candidate& c : candidates) sum += std::exp(static_cast<double>(c.logit));
  return std::log(sum);
}

Counts DrawMany(Sampler& sampler, const std::vector<Candidate>& candidates, double logsumexp, int draws) {
  Counts counts;
  for (int i = 0; i < draws; ++i) ++counts[sampler.Draw(candidates, logsumexp)];
  return counts;
}

// Pearson's statistic of the counts against the shares (which sum to 1).
double ChiSquare(const Counts& counts, const std::map<int32_t, double>& shares, int draws) {
  double sum = 0;
  for (const auto& [id, share] : shares) {
    const auto found = counts.find(id);
    const double observed = found == counts.end() ? 0 : found->second;
    sum += (observed - share * draws) * (observed - share * draws) / (share * draws);
  }
  return sum;
}

const std::vector<Candidate> kFive = {{7, 2.0f}, {3, 1.0f}, {9, 0.5f}, {1, 0.0f}, {4, -1.0f}};
constexpr int kDraws = 20000;
constexpr double kChiSquare4 = 23.5;  // 4 degrees of freedom: exceeded once in 10,000.

struct ShapeCase {
  const char* name;
  SamplingParams params;
  std::vector<int32_t> kept;
};

SamplingParams With(float temperature, int top_k, float top_p, float min_p) {
  SamplingParams params;
  params.temperature = temperature;
  params.top_k = top_k;
  params.top_p = top_p;
  params.min_p = min_p;
  params.seed = 42;
  return params;
}

TEST(Sampler, DrawsFromTheFilteredDistribution) {
  // Shares of kFive at temperature 1: 0.563, 0.207, 0.126, 0.076, 0.028; at 0.5: 0.829, 0.112, 0.041, 0.015, 0.002.
  const ShapeCase cases[] = {
      {"plain", With(1, 0, 1, 0), {7, 3, 9, 1, 4}},
      {"cold", With(0.5, 0, 1, 0), {7, 3, 9, 1, 4}},
      {"hot", With(2, 0, 1, 0), {7, 3, 9, 1, 4}},
      {"top_k", With(1, 2, 1, 0), {7, 3}},
      {"top_p", With(1, 0, 0.8f, 0), {7, 3, 9}},
      {"top_p cold", With(0.5, 0, 0.9f, 0), {7, 3}},
      {"top_p after top_k", With(1, 2, 0.7f, 0), {7}},
      {"top_p zero", With(1, 0, 0, 0), {7}},
      {"min_p", With(1, 0, 1, 0.2f), {7, 3, 9}},
      {"min_p one", With(1, 0, 1, 1), {7}},
      {"min_p after top_p", With(1, 0, 0.8f, 0.3f), {7, 3}},
  };
  for (const ShapeCase& c : cases) {
    ASSERT_TRUE(Validate(c.params).ok());
    std::map<int32_t, double> shares;
    double total = 0;
    for (const Candidate& candidate : kFive) {
      if (std::find(c.kept.begin(), c.kept.end(), candidate.id) == c.kept.end()) continue;
      total += shares[candidate.id] = std::exp(candidate.logit / c.params.temperature);
    }
    for (auto& [id, share] : shares) share /= total;
    Sampler sampler(c.params, 0);
    const Counts counts = DrawMany(sampler, kFive, LogSumExp(kFive), kDraws);
    for (const auto& [id, count] : counts) EXPECT_TRUE(shares.contains(id)) << c.name << " drew " << id;
    EXPECT_LT(ChiSquare(counts, shares, kDraws), kChiSquare4) << c.name;
  }
}

// The candidates hold half of the probability, so 40 % of the whole needs 80 % of them.
TEST(Sampler, TopPCountsTheWholeVocabulary) {
  const double logsumexp = LogSumExp(kFive) + std::log(2.0);
  Sampler sampler(With(1, 0, 0.4f, 0), 0);
  const Counts counts = DrawMany(sampler, kFive, logsumexp, 1000);
  EXPECT_EQ(counts.size(), 3u);  // 0.563 + 0.207 = 0.770 of the candidates is not enough.
  Sampler all(With(1, 0, 0.9f, 0), 0);
  EXPECT_EQ(DrawMany(all, kFive, logsumexp, 1000).size(), 5u);
}

TEST(Sampler, GreedyTakesTheFirst) {
  Sampler sampler(With(0, 5, 0.5f, 0), 0);
  EXPECT_EQ(sampler.CandidatesWanted(), 1);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(sampler.Draw(kFive, 0), 7);
}

TEST(Sampler, WantsTheCandidatesThatItMayDraw) {
  EXPECT_EQ(Sampler(With(1, 0, 1, 0), 0).CandidatesWanted(), 1024);
  EXPECT_EQ(Sampler(With(1, 40, 1, 0), 0).CandidatesWanted(), 40);
  EXPECT_EQ(Sampler(With(1, 100000, 1, 0), 0).CandidatesWanted(), 1024);
}

TEST(Sampler, ASeedMakesAStream) {
  const auto stream = [](std::optional<uint64_t> seed, uint64_t fallback) {
    SamplingParams params;
    params.seed = seed;
    Sampler sampler(params, fallback);
    std::vector<int32_t> ids;
    for (int i = 0; i < 64; ++i) ids.push_back(sampler.Draw(kFive, LogSumExp(kFive)));
    return ids;
  };
  EXPECT_EQ(stream(5, 1), stream(5, 2));
  EXPECT_NE(stream(5, 1), stream(6, 1));
  EXPECT_EQ(stream(std::nullopt, 9), stream(9, 0));
  EXPECT_NE(stream(std::nullopt, 9), stream(std::nullopt, 10));
}

// Streams of neighbouring seeds are unrelated: pairs of draws fill the square evenly.
TEST(Sampler, NeighbouringSeedsAreUnrelated) {
  const std::vector<Candidate> two = {{0, 0.0f}, {1, 0.0f}};
  Counts pairs;
  constexpr int kSeeds = 4000;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    Sampler a(SamplingParams{}, seed);
    Sampler b(SamplingParams{}, seed + 1);
    ++pairs[a.Draw(two, 0) * 2 + b.Draw(two, 0)];
  }
  EXPECT_LT(ChiSquare(pairs, {{0, 0.25}, {1, 0.25}, {2, 0.25}, {3, 0.25}}, kSeeds), 21.1);  // 3 degrees, 1 in 10,000.
}

TEST(Sampler, OddCandidatesAreSurvived) {
  Sampler sampler(With(1, 0, 0.9f, 0.1f), 0);
  EXPECT_EQ(sampler.Draw({}, 0), -1);
  EXPECT_EQ(sampler.Draw(std::vector<Candidate>{{5, NAN}, {6, NAN}}, NAN), 5);
  EXPECT_EQ(sampler.Draw(std::vector<Candidate>{{5, -INFINITY}}, -INFINITY), 5);
  EXPECT_EQ(sampler.Draw(std::vector<Candidate>{{5, INFINITY}, {6, 1.0f}}, INFINITY), 5);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(sampler.Draw(std::vector<Candidate>{{5, NAN}, {6, 1.0f}}, 1), 6);
}

std::map<int32_t, LogitEdit> ById(const std::vector<LogitEdit>& edits) {
  std::map<int32_t, LogitEdit> map;
  int32_t last = -1;
  for (const LogitEdit& edit : edits) {
    EXPECT_GT(edit.id, last) << "ids ascend";
    last = edit.id;
    map[edit.id] = edit;
  }
  return map;
}

TEST(Sampler, NoPenaltiesNoEdits) {
  const std::vector<int32_t> tokens = {1, 2, 3};
  EXPECT_TRUE(Sampler(SamplingParams{}, 0).Edits(tokens, 2).empty());
}

TEST(Sampler, EditsFollowTheHistory) {
  SamplingParams params;
  params.presence_penalty = 0.5f;
  params.frequency_penalty = 0.25f;
  params.repetition_penalty = 1.5f;
  params.logit_bias = {{4, 2.0f}, {8, -100.0f}};
  const std::vector<int32_t> tokens = {1, 2, 2, /*generated*/ 2, 4, 4};
  const auto edits = ById(Sampler(params, 0).Edits(tokens, 3));
  ASSERT_EQ(edits.size(), 4u);
  EXPECT_EQ(edits.at(1).add, 0);  // The prompt counts for repetition only.
  EXPECT_EQ(edits.at(1).repetition, 1.5f);
  EXPECT_FLOAT_EQ(edits.at(2).add, -0.75f);
  EXPECT_FLOAT_EQ(edits.at(4).add, 2.0f - 0.5f - 2 * 0.25f);
  EXPECT_EQ(edits.at(4).repetition, 1.5f);
  EXPECT_FLOAT_EQ(edits.at(8).add, -100);
  EXPECT_EQ(edits.at(8).repetition, 1);
}

TEST(Sampler, RepetitionLooksBackOverAWindow) {
  SamplingParams params;
  params.repetition_penalty = 1.1f;
  std::vector<int32_t> tokens;
  for (int32_t id = 0; id < 3000; ++id) tokens.push_back(id);
  const auto edits = ById(Sampler(params, 0).Edits(tokens, 2500));
  EXPECT_EQ(static_cast<int64_t>(edits.size()), kRepetitionWindowTokens);
  EXPECT_EQ(edits.begin()->first, 3000 - kRepetitionWindowTokens);
}

TEST(Sampler, ValidateNamesTheParameter) {
  const auto message = [](auto change) {
    SamplingParams params;
    change(params);
    const absl::Status status = Validate(params, 100);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  using P = SamplingParams;
  EXPECT_EQ(message([](P& p) { p.temperature = 2.5f; }), "temperature is 2.5, it must be between 0 and 2");
  EXPECT_TRUE(absl::StrContains(message([](P& p) { p.temperature = NAN; }), "temperature"));
  EXPECT_TRUE(absl::StrContains(message([](P& p) { p.top_k = -1; }), "top_k"));
  EXPECT_TRUE(absl::StrContains(message([](P& p) { p.top_p = 1.01f; }), "top_p"));
  EXPECT_TRUE(absl::StrContains(message([](P& p) { p.min_p = -0.1f; }), "min_p"));
  EXPECT_TRUE(absl::StrContains(message([](P& p) { p.repetition_penalty = 0; }), "repetition_penalty"));
  EXPECT_TRUE(absl::StrContains(message([](P& p) { p.presence_penalty = -2.1f; }), "presence_penalty"));
  EXPECT_TRUE(absl::StrContains(message([](P& p) { p.frequency_penalty = INFINITY; }), "frequency_penalty"));
  EXPECT_TRUE(absl::StrContains(message([](P& p) { p.logit_bias = {{100, 1.0f}}; }), "logit_bias names token 100"));
  EXPECT_TRUE(absl::StrContains(message([](P& p) { p.logit_bias = {{5, 101.0f}}; }), "logit_bias of token 5"));
  EXPECT_TRUE(absl::StrContains(message([](P& p) { p.logit_bias.resize(1025); }), "1025 entries"));
  EXPECT_TRUE(Validate(SamplingParams{}, 100).ok());
}

TEST(Sampler, LogProbabilitiesSumToOne) {
  double sum = 0;
  for (const Candidate& c : kFive) sum += std::exp(LogProbability(c.logit, LogSumExp(kFive)));
  EXPECT_NEAR(sum, 1, 1e-12);
}

}  // namespace
}  // namespace barn
