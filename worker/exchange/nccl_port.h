#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "kernels/device.h"
#include "worker/exchange/rank_port.h"

namespace barn {

// Ranks on GPUs, by NCCL, which is opened at run time. Its address is a unique id, which serves one communicator: that
// of rank 0 is used, and another one stands in its place as soon as the ranks of an epoch meet under it.
// Its collectives do not need it once they are joined.
// library: as dlopen takes it; empty: what BARN_NCCL names, else the device's own. device outlives the port.
// Unavailable: there is none, or it is not NCCL 2.14 or later. FailedPrecondition: a device without a stream.
absl::StatusOr<std::unique_ptr<RankPort>> OpenNcclPort(Device& device, const std::string& library);

}  // namespace barn
