#pragma once

#include <memory>
#include <span>
#include <vector>

#include "kernels/device.h"
#include "worker/exchange/nccl_port.h"

namespace barn {

// Ranks on several devices of this process, joined by the library that BARN_NCCL names. The devices outlive them.
struct NcclRanks {
  std::vector<std::unique_ptr<RankPort>> ports;
  std::vector<std::unique_ptr<Collective>> ranks;
};

// A failure fails the test, and then there are no ranks.
NcclRanks JoinNcclRanks(std::span<Device* const> devices, int64_t floats_max);

}  // namespace barn
