#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/device.h"

namespace barn {

// What this machine has to compute with: "cpu", and "cuda:0", "cuda:1", ... where there are GPUs and a program that was
// built for them.
struct DeviceEntry {
  std::string name = {};
  std::string description = {};  // "NVIDIA H100 80GB HBM3, compute capability 9.0"; empty where nothing is known.
  int64_t memory_bytes = 0;      // Of its own; 0: the host's.
  std::string missing = {};      // Why it cannot be used; empty: it can.
};
// The CPU first. With no GPU, one entry "cuda" that says why.
std::vector<DeviceEntry> ListDevices();

struct DeviceOptions {
  std::string name = "cpu";
  int threads = 0;           // Of the CPU: CpuOptions.
  bool pin = true;           // Likewise.
  int64_t memory_bytes = 0;  // Of a GPU, for everything that lies there; 0: nine tenths of what it has.
};
struct CreatedDevice {
  std::unique_ptr<Device> device = nullptr;
  int64_t memory_bytes = 0;  // That it took of its own; 0: it uses the host's.
};
// InvalidArgument: no name of a device. Unavailable: the device or its driver is missing, and which. ResourceExhausted:
// it has not so much memory free.
absl::StatusOr<CreatedDevice> CreateDevice(const DeviceOptions& options);

}  // namespace barn
