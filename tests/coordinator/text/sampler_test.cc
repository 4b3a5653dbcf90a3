#include "coordinator/text/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <random>

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
  for (int i = 0; i < draws; ++i) ++counts[sampler.Draw(candidates, {.logsumexp = logsumexp})];
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

SamplingParams With(double temperature, int top_k, double top_p, double min_p) {
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
      {"top_p", With(1, 0, 0.8, 0), {7, 3, 9}},
      {"top_p cold", With(0.5, 0, 0.9, 0), {7, 3}},
      {"top_p after top_k", With(1, 2, 0.7, 0), {7}},
      {"top_p zero", With(1, 0, 0, 0), {7}},
      {"min_p", With(1, 0, 1, 0.2), {7, 3, 9}},
      {"min_p one", With(1, 0, 1, 1), {7}},
      {"min_p after top_p", With(1, 0, 0.8, 0.3), {7, 3}},
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
  Sampler sampler(With(1, 0, 0.4, 0), 0);
  const Counts counts = DrawMany(sampler, kFive, logsumexp, 1000);
  EXPECT_EQ(counts.size(), 3u);  // 0.563 + 0.207 = 0.770 of the candidates is not enough.
  Sampler all(With(1, 0, 0.9, 0), 0);
  EXPECT_EQ(DrawMany(all, kFive, logsumexp, 1000).size(), 5u);
}

TEST(Sampler, GreedyTakesTheFirst) {
  Sampler sampler(With(0, 5, 0.5, 0), 0);
  EXPECT_EQ(sampler.CandidatesWanted(), 1);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(sampler.Draw(kFive, {}), 7);
}

TEST(Sampler, WantsTheCandidatesThatItMayDraw) {
  EXPECT_EQ(Sampler(With(1, 0, 1, 0), 0).CandidatesWanted(), 1024);
  EXPECT_EQ(Sampler(With(1, 40, 1, 0), 0).CandidatesWanted(), 40);
  EXPECT_EQ(Sampler(With(1, 100000, 1, 0), 0).CandidatesWanted(), 1024);
  SamplingParams greedy = With(0, 1, 1, 0);
  greedy.banned_strings = {"x"};
  EXPECT_EQ(Sampler(greedy, 0).CandidatesWanted(), 1024) << "what is taken back needs another";
}

TEST(Sampler, ASeedMakesAStream) {
  const auto stream = [](std::optional<uint64_t> seed, uint64_t fallback) {
    SamplingParams params;
    params.seed = seed;
    Sampler sampler(params, fallback);
    std::vector<int32_t> ids;
    for (int i = 0; i < 64; ++i) ids.push_back(sampler.Draw(kFive, {.logsumexp = LogSumExp(kFive)}));
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
    ++pairs[a.Draw(two, {}) * 2 + b.Draw(two, {})];
  }
  EXPECT_LT(ChiSquare(pairs, {{0, 0.25}, {1, 0.25}, {2, 0.25}, {3, 0.25}}, kSeeds), 21.1);  // 3 degrees, 1 in 10,000.
}

TEST(Sampler, OddCandidatesAreSurvived) {
  Sampler sampler(With(1, 0, 0.9, 0.1), 0);
  EXPECT_EQ(sampler.Draw({}, {}), -1);
  EXPECT_EQ(sampler.Draw(std::vector<Candidate>{{5, NAN}, {6, NAN}}, {.logsumexp = NAN}), 5);
  EXPECT_EQ(sampler.Draw(std::vector<Candidate>{{5, -INFINITY}}, {.logsumexp = -INFINITY}), 5);
  EXPECT_EQ(sampler.Draw(std::vector<Candidate>{{5, INFINITY}, {6, 1.0f}}, {.logsumexp = INFINITY}), 5);
  for (int i = 0; i < 20; ++i)
    EXPECT_EQ(sampler.Draw(std::vector<Candidate>{{5, NAN}, {6, 1.0f}}, {.logsumexp = 1}), 6);
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
  EXPECT_FALSE(Sampler(SamplingParams{}, 0).LooksBack());
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

// What the filters of a chain leave, computed from probabilities alone: a table of id to share, filter by filter.
std::map<int32_t, double> ReferenceShares(const std::vector<Candidate>& candidates, const SamplingParams& params) {
  std::map<int32_t, double> logits;
  for (const Candidate& c : candidates) logits[c.id] = c.logit;
  const auto shares = [&] {
    double sum = 0;
    std::map<int32_t, double> p;
    for (const auto& [id, logit] : logits) sum += p[id] = std::exp(logit);
    for (auto& [id, share] : p) share /= sum;
    return p;
  };
  // Keeps a smallest set by ascending `rank`, until `total` of the probability is in it.
  const auto keep_mass = [&](double total, auto rank) {
    std::map<int32_t, double> p = shares(), kept;
    double sum = 0;
    while (sum < total && kept.size() < logits.size()) {
      int32_t next = -1;
      for (const auto& [id, share] : p) {
        if (!kept.contains(id) && (next < 0 || rank(share) < rank(p[next]))) next = id;
      }
      kept[next] = logits[next];
      sum += p[next];
    }
    logits = kept;
  };
  const auto entropy = [&] {
    double h = 0;
    for (const auto& [id, share] : shares()) h -= share * std::log(share);
    return h;
  };
  const auto erase = [&](auto drop) { std::erase_if(logits, [&](const auto& entry) { return drop(entry.first); }); };
  for (const SamplerKind kind : params.samplers) {
    std::map<int32_t, double> p = shares();
    double best = 0, mean = 0, variance = 0, best_logit = -INFINITY;
    for (const auto& [id, share] : p) best = std::max(best, share);
    for (const auto& [id, logit] : logits) mean += logit / static_cast<double>(logits.size());
    for (const auto& [id, logit] : logits) {
      variance += (logit - mean) * (logit - mean) / static_cast<double>(logits.size());
      best_logit = std::max(best_logit, logit);
    }
    double temperature = params.temperature;
    if (params.dynatemp_range > 0 && logits.size() > 1) {
      const double low = std::max(0.0, temperature - params.dynatemp_range);
      temperature = low + (temperature + params.dynatemp_range - low) *
                              std::pow(entropy() / std::log(logits.size()), params.dynatemp_exponent);
    }
    const double h = entropy();
    switch (kind) {
      case SamplerKind::kTemperature:
        for (auto& [id, logit] : logits) logit /= temperature;
        break;
      case SamplerKind::kTopK:
        if (params.top_k > 0) {
          std::vector<double> all;
          for (const auto& [id, share] : p) all.push_back(share);
          std::sort(all.rbegin(), all.rend());
          const double last = all[std::min<size_t>(all.size(), params.top_k) - 1];
          erase([&](int32_t id) { return p[id] < last; });
        }
        break;
      case SamplerKind::kTopP:
        if (params.top_p < 1) keep_mass(params.top_p, [](double share) { return -share; });
        break;
      case SamplerKind::kTypical:
        if (params.typical_p < 1) keep_mass(params.typical_p, [&](double s) { return std::abs(-std::log(s) - h); });
        break;
      case SamplerKind::kMinP:
        erase([&](int32_t id) { return p[id] < params.min_p * best; });
        break;
      case SamplerKind::kTopNSigma:
        if (params.top_n_sigma > 0) {
          const double lowest = best_logit - params.top_n_sigma * std::sqrt(variance);
          erase([&](int32_t id) { return logits[id] < lowest; });
        }
        break;
      case SamplerKind::kXtc: {
        if (params.xtc_probability == 0) break;
        double least = 2;
        for (const auto& [id, share] : p) {
          if (share >= params.xtc_threshold) least = std::min(least, share);
        }
        erase([&](int32_t id) { return p[id] > least; });
        break;
      }
      default:
        break;
    }
  }
  return shares();
}

struct ChainCase {
  const char* name;
  const char* letters;
  std::function<void(SamplingParams&)> set;
  size_t kept;  // How many stay: a chain that filters nothing would agree with everything.
};

TEST(Sampler, EveryChainDrawsFromItsDistribution) {
  using P = SamplingParams;
  const std::vector<Candidate> kTen = {{4, 3.1f}, {9, 2.6f}, {2, 2.2f},  {7, 1.7f},  {0, 1.1f},
                                       {5, 0.6f}, {8, 0.0f}, {1, -0.9f}, {3, -1.5f}, {6, -2.5f}};
  const ChainCase cases[] = {
      {"typical", "y", [](P& p) { p.typical_p = 0.6; }, 3},
      {"typical drops the best", "y", [](P& p) { p.typical_p = 0.2; }, 1},
      {"top_n_sigma", "s", [](P& p) { p.top_n_sigma = 1; }, 4},
      {"top_n_sigma does not see the temperature", "ts", [](P& p) { p.top_n_sigma = 1, p.temperature = 0.5; }, 4},
      {"top_n_sigma of what top_k left", "ks", [](P& p) { p.top_n_sigma = 1, p.top_k = 4; }, 2},
      {"xtc", "x", [](P& p) { p.xtc_probability = 1, p.xtc_threshold = 0.15; }, 8},
      {"xtc where one is above", "x", [](P& p) { p.xtc_probability = 1, p.xtc_threshold = 0.3; }, 10},
      {"dynamic temperature", "t", [](P& p) { p.dynatemp_range = 0.8, p.dynatemp_exponent = 1.3; }, 10},
      {"dynamic temperature after top_k", "kt", [](P& p) { p.dynatemp_range = 0.5, p.top_k = 5; }, 5},
      {"temperature before top_p", "tp", [](P& p) { p.temperature = 0.5, p.top_p = 0.7; }, 2},
      {"temperature after top_p", "pt", [](P& p) { p.temperature = 0.5, p.top_p = 0.7; }, 3},
      {"min_p, then xtc", "mx", [](P& p) { p.min_p = 0.3, p.xtc_probability = 1, p.xtc_threshold = 0.25; }, 2},
      {"all of them", "skypmxt",
       [](P& p) {
         p.top_n_sigma = 1.8, p.top_k = 7, p.typical_p = 0.95, p.top_p = 0.9, p.min_p = 0.1, p.temperature = 1.4;
         p.xtc_probability = 1, p.xtc_threshold = 0.25;
       },
       3},
      {"what is not in the chain is off", "k", [](P& p) { p.top_k = 3, p.top_p = 0.1, p.temperature = 0; }, 3},
  };
  double mean = 0, squares = 0;
  for (const Candidate& c : kTen) mean += c.logit / 10.0, squares += static_cast<double>(c.logit) * c.logit / 10.0;
  const LogitSummary all{.logsumexp = LogSumExp(kTen), .deviation = std::sqrt(squares - mean * mean)};
  for (const ChainCase& c : cases) {
    SamplingParams params;
    params.seed = 7;
    params.samplers = *ReadSamplerLetters(c.letters);
    c.set(params);
    ASSERT_TRUE(Validate(params).ok()) << c.name;
    const std::map<int32_t, double> shares = ReferenceShares(kTen, params);
    EXPECT_EQ(shares.size(), c.kept) << c.name;
    Sampler sampler(params, 0);
    EXPECT_EQ(sampler.WantsDeviation(), params.top_n_sigma > 0) << c.name;
    Counts counts;
    for (int i = 0; i < kDraws; ++i) ++counts[sampler.Draw(kTen, all)];
    for (const auto& [id, count] : counts) EXPECT_TRUE(shares.contains(id)) << c.name << " drew " << id;
    EXPECT_LT(ChiSquare(counts, shares, kDraws), 34) << c.name;  // 9 degrees of freedom: once in 10,000.
  }
}

// Over a part of the vocabulary, the deviation that counts is that of all logits.
TEST(Sampler, TopNSigmaIsAboutTheWholeVocabulary) {
  SamplingParams params;
  params.top_n_sigma = 1;
  Sampler sampler(params, 1);
  Counts counts;
  for (int i = 0; i < 2000; ++i) ++counts[sampler.Draw(kFive, {.logsumexp = LogSumExp(kFive), .deviation = 1.6})];
  EXPECT_EQ(counts.size(), 3u);  // 2, 1 and 0.5 are at most 1.6 below 2.
}

// With a chance of 0.3 the two best are excluded.
TEST(Sampler, XtcHappensWithItsProbability) {
  SamplingParams params;
  params.xtc_probability = 0.3;
  params.xtc_threshold = 0.1;
  params.seed = 3;
  const Counts counts = [&] {
    Sampler sampler(params, 0);
    return DrawMany(sampler, kFive, LogSumExp(kFive), kDraws);
  }();
  const double sum = std::exp(2) + std::exp(1) + std::exp(0.5) + std::exp(0) + std::exp(-1);
  const double rest = std::exp(0.5) + std::exp(0) + std::exp(-1);
  std::map<int32_t, double> shares;
  for (const Candidate& c : kFive) {
    const double p = std::exp(c.logit);
    shares[c.id] = 0.7 * p / sum + (c.logit < 1 ? 0.3 * p / rest : 0);
  }
  EXPECT_LT(ChiSquare(counts, shares, kDraws), kChiSquare4);
}

// The bound follows the surprise: on a flat distribution the mean surprise of the draws comes to tau, and the first
// draw sees the bound 2 tau.
TEST(Sampler, MirostatKeepsTheSurprise) {
  std::vector<Candidate> candidates;
  for (int32_t id = 0; id < 512; ++id) candidates.push_back({id, -0.01f * static_cast<float>(id)});
  for (const double tau : {2.0, 3.0, 5.0}) {
    SamplingParams params;
    params.mirostat = 2;
    params.mirostat_tau = tau;
    params.mirostat_eta = 0.1;
    params.seed = 5;
    ASSERT_TRUE(Validate(params).ok());
    Sampler sampler(params, 0);
    // The same loop in plain words.
    double bound = 2 * tau, sum_of_surprise = 0;
    const double all = LogSumExp(candidates);
    for (int i = 0; i < 2000; ++i) {
      double kept = 0;
      for (const Candidate& c : candidates) {
        const double p = std::exp(c.logit - all);
        if (c.id == 0 || -std::log2(p) <= bound) kept += p;
      }
      const int32_t id = sampler.Draw(candidates, {.logsumexp = all});
      const double p = std::exp(candidates[id].logit - all);
      ASSERT_TRUE(id == 0 || -std::log2(p) <= bound + 1e-9) << i;
      bound -= 0.1 * (-std::log2(p / kept) - tau);
      if (i >= 1000) sum_of_surprise += -std::log2(p / kept);
    }
    EXPECT_NEAR(sum_of_surprise / 1000, tau, 0.15);
  }
}

// The edits of a growing history are those of a sampler that sees it for the first time.
TEST(Sampler, EditsOfAGrowingHistoryAreThoseOfAFreshLook) {
  SamplingParams params;
  params.repetition_penalty = 1.25;
  params.presence_penalty = 0.5;
  params.frequency_penalty = 0.25;
  params.repeat_last_n = 20;
  params.dry_multiplier = 1;
  params.logit_bias = {{3, 1.0f}, {3, 0.5f}, {40, -2.0f}};
  std::mt19937 random(1);
  Sampler sampler(params, 0);
  std::vector<int32_t> tokens;
  for (int i = 0; i < 200; ++i) {
    for (size_t more = 1 + random() % (i == 100 ? 60 : 3); more > 0; --more) tokens.push_back(random() % 6);
    if (i == 150) {
      tokens.resize(tokens.size() - 30);
      sampler.Forget();
    }
    const auto grown = ById(sampler.Edits(tokens, 30));
    const auto fresh = ById(Sampler(params, 0).Edits(tokens, 30));
    ASSERT_EQ(grown.size(), fresh.size());
    for (const auto& [id, edit] : fresh) {
      EXPECT_EQ(grown.at(id).add, edit.add) << id;
      EXPECT_EQ(grown.at(id).repetition, edit.repetition) << id;
    }
  }
}

TEST(Sampler, LogProbabilitiesSumToOne) {
  double sum = 0;
  for (const Candidate& c : kFive) sum += std::exp(LogProbability(c.logit, LogSumExp(kFive)));
  EXPECT_NEAR(sum, 1, 1e-12);
}

}  // namespace
}  // namespace barn
