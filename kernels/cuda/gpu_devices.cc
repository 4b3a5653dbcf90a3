#include "kernels/cuda/gpu_devices.h"

#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "kernels/cuda/gpu_device.h"
#include "kernels/cuda/runtime.h"

namespace barn {
namespace {

std::string NameOf(size_t index) { return absl::StrCat(gpu::DevicePrefix(), ":", index); }

// BARN_GPU_GRAPHS: on (as when it is not set) or off, where a graph is suspected of something.
absl::StatusOr<bool> WantsGraphs() {
  const char* word = std::getenv("BARN_GPU_GRAPHS");
  if (word == nullptr || absl::string_view(word) == "on") return true;
  if (absl::string_view(word) == "off") return false;
  return absl::InvalidArgumentError(absl::StrFormat("BARN_GPU_GRAPHS is \"%s\", want on or off", word));
}

DeviceEntry Missing(std::string why) { return {.name = gpu::DevicePrefix(), .missing = std::move(why)}; }

}  // namespace

std::vector<DeviceEntry> ListGpus() {
  absl::StatusOr<std::vector<gpu::DeviceInfo>> devices = gpu::ListDevices();
  if (!devices.ok()) return {Missing(std::string(devices.status().message()))};
  if (devices->empty()) return {Missing("the driver is there, but it knows no GPU")};
  std::vector<DeviceEntry> entries;
  for (size_t i = 0; i < devices->size(); ++i) {
    const gpu::DeviceInfo& info = (*devices)[i];
    entries.push_back({.name = NameOf(i),
                       .description = absl::StrFormat("%s, compute capability %d.%d", info.name,
                                                      info.compute_capability / 10, info.compute_capability % 10),
                       .memory_bytes = info.memory_bytes,
                       .missing = info.unsuited});
  }
  return entries;
}

absl::StatusOr<CreatedDevice> CreateGpu(const DeviceOptions& options) {
  int index = -1;
  absl::string_view number = options.name;
  if (!absl::ConsumePrefix(&number, absl::StrCat(gpu::DevicePrefix(), ":")) || !absl::SimpleAtoi(number, &index) ||
      index < 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "no device is called \"%s\": want cpu, or %s as `barn devices` lists them", options.name, NameOf(0)));
  }
  const std::vector<DeviceEntry> entries = ListGpus();
  const auto name = NameOf(static_cast<size_t>(index));
  for (const DeviceEntry& entry : entries) {
    if (entry.name != name) continue;
    if (!entry.missing.empty()) return absl::UnavailableError(absl::StrCat(name, ": ", entry.missing));
    const absl::StatusOr<bool> graphs = WantsGraphs();
    if (!graphs.ok()) return graphs.status();
    absl::StatusOr<std::unique_ptr<GpuDevice>> device =
        GpuDevice::Create({.index = index, .memory_bytes = options.memory_bytes, .graphs = *graphs});
    if (!device.ok()) return device.status();
    const int64_t bytes = (*device)->memory_bytes();
    return CreatedDevice{.device = *std::move(device), .memory_bytes = bytes};
  }
  if (!entries[0].missing.empty()) return absl::UnavailableError(absl::StrCat(name, ": ", entries[0].missing));
  return absl::UnavailableError(absl::StrFormat("%s: the last GPU of this machine is %s", name, entries.back().name));
}

}  // namespace barn
