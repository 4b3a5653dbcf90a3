#include "kernels/devices.h"

#include <utility>

#include "kernels/cuda/gpu_devices.h"

namespace barn {

std::vector<DeviceEntry> ListDevices() {
  std::vector<DeviceEntry> entries = {{.name = "cpu"}};
  absl::StatusOr<std::unique_ptr<Device>> cpu = CreateCpuDevice({.pin = false});
  if (cpu.ok()) {
    entries[0].description = (*cpu)->Describe();
  } else {
    entries[0].missing = std::string(cpu.status().message());
  }
  for (DeviceEntry& gpu : ListGpus()) entries.push_back(std::move(gpu));
  return entries;
}

absl::StatusOr<CreatedDevice> CreateDevice(const DeviceOptions& options) {
  if (options.name != "cpu") return CreateGpu(options);
  absl::StatusOr<std::unique_ptr<Device>> cpu = CreateCpuDevice({.threads = options.threads, .pin = options.pin});
  if (!cpu.ok()) return cpu.status();
  return CreatedDevice{.device = *std::move(cpu)};
}

}  // namespace barn
