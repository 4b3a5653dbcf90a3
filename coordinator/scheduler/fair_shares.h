#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "coordinator/scheduler/request.h"

namespace barn {

// Whose turn it is. Deficit round robin over tenants with a quantum as small as it goes: every tenant has a clock that
// runs by tokens / weight, and whose clock is furthest behind goes next (virtual token counters, Sheng et al. 2024,
// "Fairness in Serving Large Language Models", algorithm 2). Who comes back after a pause gets no credit for it.
class FairShares {
 public:
  // A request of the tenant begins and ends to compete.
  void Enter(const Tenant& tenant);
  void Leave(const Tenant& tenant);
  // Tokens that were spent on the tenant; negative: that were promised, and not used. It competes.
  void Charge(const Tenant& tenant, int64_t tokens);
  // The least goes first. It competes.
  double Clock(const Tenant& tenant) const { return accounts_.at(tenant.name).clock; }

 private:
  struct Account {
    double clock = 0;
    int64_t requests = 0;
  };
  double Least() const;

  // Those that compete, and those whose clock is still ahead of somebody who does.
  std::map<std::string, Account> accounts_;
};

}  // namespace barn
