#include "coordinator/scheduler/fair_shares.h"

#include <gtest/gtest.h>

namespace barn {
namespace {

const Tenant kA{.name = "a", .weight = 1}, kB{.name = "b", .weight = 4};

TEST(FairShares, ClocksRunByWeight) {
  FairShares shares;
  shares.Enter(kA);
  shares.Enter(kB);
  shares.Charge(kA, 100);
  shares.Charge(kB, 100);
  EXPECT_EQ(shares.Clock(kA), 100);
  EXPECT_EQ(shares.Clock(kB), 25);
}

TEST(FairShares, APauseGivesNoCredit) {
  FairShares shares;
  shares.Enter(kA);
  shares.Charge(kA, 1000);
  shares.Enter(kB);
  EXPECT_EQ(shares.Clock(kB), 1000) << "begins with the one that is furthest behind";
}

TEST(FairShares, APauseForgivesNoDebt) {
  FairShares shares;
  shares.Enter(kA);
  shares.Enter(kB);
  shares.Charge(kA, 1000);
  shares.Charge(kB, 400);
  shares.Leave(kA);
  shares.Enter(kA);
  EXPECT_EQ(shares.Clock(kA), 1000);
  EXPECT_EQ(shares.Clock(kB), 100);
  // When everybody has left there is nobody to owe anything to.
  shares.Leave(kA);
  shares.Leave(kB);
  shares.Enter(kA);
  EXPECT_EQ(shares.Clock(kA), 0);
}

TEST(FairShares, ATenantCompetesUntilItsLastRequestEnds) {
  FairShares shares;
  shares.Enter(kA);
  shares.Enter(kA);
  shares.Leave(kA);
  shares.Charge(kA, 10);
  shares.Enter(kB);
  EXPECT_EQ(shares.Clock(kB), 10);
}

}  // namespace
}  // namespace barn
