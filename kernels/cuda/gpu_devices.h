#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "kernels/devices.h"

// The GPUs of devices.h: gpu_devices.cc where this program has kernels for them, else no_gpu.cc.
namespace barn {

// At least one entry: where there is no GPU, it says what is missing.
std::vector<DeviceEntry> ListGpus();
absl::StatusOr<CreatedDevice> CreateGpu(const DeviceOptions& options);

}  // namespace barn
