#include "coordinator/text/sampling/candidate_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace barn {
namespace {

using ::testing::ElementsAre;

std::vector<int32_t> Ids(const CandidatePool& pool) {
  std::vector<int32_t> ids;
  for (size_t i = 0; i < pool.size(); ++i) ids.push_back(pool.id(i));
  return ids;
}

// Shares 0.5, 0.25, 0.125, 0.125.
const std::vector<Candidate> kHalves = {
    {5, std::log(8.0f)}, {3, std::log(4.0f)}, {8, std::log(2.0f)}, {9, std::log(2.0f)}};
const LogitSummary kAll{.logsumexp = std::log(16.0)};

TEST(CandidatePool, AtLeastOneStays) {
  for (auto* filter : {+[](CandidatePool& p) { p.TopP(0); }, +[](CandidatePool& p) { p.MinP(1); },
                       +[](CandidatePool& p) { p.Typical(0); }, +[](CandidatePool& p) { p.TopNSigma(0); },
                       +[](CandidatePool& p) { p.MaxSurprise(-5); }, +[](CandidatePool& p) { p.TopK(0); },
                       +[](CandidatePool& p) { p.Temperature(0); }}) {
    CandidatePool pool(kHalves, kAll);
    filter(pool);
    EXPECT_EQ(pool.size(), 1u);
    EXPECT_EQ(pool.Pick(0.999), 0u);
  }
}

TEST(CandidatePool, PicksByShare) {
  CandidatePool pool(kHalves, kAll);
  EXPECT_EQ(pool.Pick(0), 0u);
  EXPECT_EQ(pool.Pick(0.49), 0u);
  EXPECT_EQ(pool.Pick(0.51), 1u);
  EXPECT_EQ(pool.Pick(0.8), 2u);
  EXPECT_EQ(pool.Pick(std::nextafter(1.0, 0)), 3u);
  EXPECT_NEAR(pool.ShareOfKept(1), 0.25, 1e-7);
}

// Where the candidates are half of the probability, shares are halves of themselves until something is cut.
TEST(CandidatePool, SharesAreOfTheWholeVocabularyUntilACut) {
  const LogitSummary half{.logsumexp = std::log(32.0)};
  CandidatePool top_p(kHalves, half);
  top_p.TopP(0.3);
  EXPECT_THAT(Ids(top_p), ElementsAre(5, 3));
  CandidatePool xtc(kHalves, half);
  xtc.ExcludeTopChoices(0.2);
  EXPECT_THAT(Ids(xtc), ElementsAre(5, 3, 8, 9)) << "only the best holds 0.2 of all";
  xtc.TopK(4);
  xtc.ExcludeTopChoices(0.2);
  EXPECT_THAT(Ids(xtc), ElementsAre(3, 8, 9)) << "two hold 0.2 of what is left";
  CandidatePool surprise(kHalves, half);
  surprise.MaxSurprise(2.01);  // 2, 3, 4, 4 bits.
  EXPECT_THAT(Ids(surprise), ElementsAre(5));
}

TEST(CandidatePool, OddLogitsAreSurvived) {
  EXPECT_THAT(Ids(CandidatePool(std::vector<Candidate>{{5, NAN}, {6, NAN}}, {})), ElementsAre(5));
  EXPECT_THAT(Ids(CandidatePool(std::vector<Candidate>{{5, NAN}, {6, 1}}, {})), ElementsAre(6));
  EXPECT_THAT(Ids(CandidatePool(std::vector<Candidate>{{5, INFINITY}, {6, 1}}, {})), ElementsAre(5));
  CandidatePool forbidden(std::vector<Candidate>{{5, 1}, {6, -INFINITY}}, {.logsumexp = 1});
  forbidden.Typical(0.99);
  forbidden.DynamicTemperature(1, 0.5, 1);
  EXPECT_EQ(forbidden.Pick(0.999), 0u);
}

}  // namespace
}  // namespace barn
