#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "kernels/cuda/gpu_devices.h"

namespace barn {

constexpr char kWhy[] = "this program was built without kernels for GPUs (CMake: -DBARN_CUDA=ON, which needs nvcc)";

std::vector<DeviceEntry> ListGpus() { return {{.name = "cuda", .missing = kWhy}}; }

absl::StatusOr<CreatedDevice> CreateGpu(const DeviceOptions& options) {
  if (absl::StartsWith(options.name, "cuda:")) return absl::UnavailableError(absl::StrCat(options.name, ": ", kWhy));
  return absl::InvalidArgumentError(
      absl::StrFormat("no device is called \"%s\": want cpu, or cuda:0 as `barn devices` lists them", options.name));
}

}  // namespace barn
