#include "kernels/cpu/logit_ranking.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "tests/worker/service/logits_reference.h"

namespace barn {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

// Every instruction set that this machine has, with 1 and 3 threads.
template <class Check>
void ForEveryRanker(Check check) {
  for (const Isa isa : kIsas) {
    if (!IsaSupported(isa)) continue;
    for (const int threads : {1, 3}) {
      SCOPED_TRACE(testing::Message() << IsaName(isa) << ", " << threads << " threads");
      ThreadPool pool(threads, false);
      LogitRanker ranker(isa, pool);
      check(ranker);
    }
  }
}

void ExpectRanked(const LogitRanking& got) {
  const LogitRanking want = RankPlainly(got.logits, got.count);
  EXPECT_EQ(got.largest, want.largest);
  if (std::isfinite(want.logsumexp)) {
    // A sum of positive terms, each to 2e-7: 1e-6 of the logarithm with room for the order of the sum.
    EXPECT_NEAR(got.logsumexp, want.logsumexp, 1e-6 + std::abs(want.logsumexp) * 0x1p-52);
  } else {
    EXPECT_EQ(got.logsumexp, want.logsumexp);
  }
  ASSERT_EQ(got.best.size(), want.best.size());
  for (size_t i = 0; i < got.best.size(); ++i) ASSERT_EQ(got.best[i].id, want.best[i].id) << "place " << i;
}

TEST(LogitRanking, EqualsAFullSortForEverySizeAndCount) {
  std::mt19937 random(7);
  for (const int size : {1, 2, 17, 64, 65, 320, 5000, 8192, 20001}) {
    for (const int distinct : {3, 50, 1 << 20}) {
      std::vector<float> logits(size);
      std::generate(logits.begin(), logits.end(),
                    [&] { return static_cast<float>(random() % distinct) / 64.0f - 5.0f; });
      ForEveryRanker([&](LogitRanker& ranker) {
        for (const int64_t count : {0, 1, 5, 40, 300, size}) {
          LogitRanking row{.logits = logits, .count = count};
          ranker.Run({&row, 1});
          ASSERT_NO_FATAL_FAILURE(ExpectRanked(row)) << size << " logits, " << count << " wanted";
        }
      });
    }
  }
}

TEST(LogitRanking, SeveralRowsWithCountsOfTheirOwn) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal(0, 4);
  std::vector<std::vector<float>> logits(5, std::vector<float>(9000));
  for (auto& row : logits) std::generate(row.begin(), row.end(), [&] { return normal(random); });
  ForEveryRanker([&](LogitRanker& ranker) {
    std::vector<LogitRanking> rows;
    for (size_t i = 0; i < logits.size(); ++i) rows.push_back({.logits = logits[i], .count = int64_t(i) * 30});
    for (int repeat = 0; repeat < 2; ++repeat) {
      ranker.Run(rows);
      for (const LogitRanking& row : rows) ASSERT_NO_FATAL_FAILURE(ExpectRanked(row));
      rows.pop_back();
    }
    ranker.Run({});
  });
}

TEST(LogitRanking, WhatIsNotANumberIsTheLowest) {
  ForEveryRanker([&](LogitRanker& ranker) {
    const std::vector<std::vector<float>> cases = {
        {1, 5, 5, NAN, 5, -kInf, 7},   {NAN, NAN}, {-kInf, NAN, -kInf}, {NAN, 2, kInf}, {30000, 30000}, {-kInf, 3},
        std::vector<float>(1000, 0.0f)};
    for (const std::vector<float>& logits : cases) {
      for (const int64_t count : {-3, 1, 4, 100}) {
        LogitRanking row{.logits = logits, .count = count};
        ranker.Run({&row, 1});
        ASSERT_NO_FATAL_FAILURE(ExpectRanked(row));
      }
    }
  });
}

}  // namespace
}  // namespace barn
