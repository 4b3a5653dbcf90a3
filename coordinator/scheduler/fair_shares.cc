#include "coordinator/scheduler/fair_shares.h"

#include <algorithm>
#include <limits>

namespace barn {

double FairShares::Least() const {
  double least = std::numeric_limits<double>::infinity();
  for (const auto& [name, account] : accounts_) {
    if (account.requests > 0) least = std::min(least, account.clock);
  }
  return least;
}

void FairShares::Enter(const Tenant& tenant) {
  Account& account = accounts_[tenant.name];
  if (account.requests++ > 0) return;
  account.requests = 0;  // Its own clock does not count among those that it catches up with.
  const double least = Least();
  account.requests = 1;
  if (least == std::numeric_limits<double>::infinity()) {
    accounts_ = {{tenant.name, {.clock = 0, .requests = 1}}};
    return;
  }
  account.clock = std::max(account.clock, least);
  std::erase_if(accounts_, [&](const auto& one) { return one.second.requests == 0 && one.second.clock <= least; });
}

void FairShares::Leave(const Tenant& tenant) { --accounts_.at(tenant.name).requests; }

void FairShares::Charge(const Tenant& tenant, int64_t tokens) {
  accounts_.at(tenant.name).clock += static_cast<double>(tokens) / tenant.weight;
}

}  // namespace barn
