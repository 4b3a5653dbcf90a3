#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/device.h"

namespace barn {

// Rows on a device; keeps their memory.
class OnDevice {
 public:
  OnDevice(Device& device, const std::vector<float>& values, int64_t rows)
      : device_(device), buffer_(*device.Allocate(static_cast<int64_t>(values.size()))) {
    const int64_t cols = static_cast<int64_t>(values.size()) / rows;
    tensor = {.data = buffer_->data(), .rows = rows, .cols = cols, .stride = cols};
    device.CopyFromHost(values, tensor);
  }
  OnDevice(Device& device, int64_t rows, int64_t cols)
      : OnDevice(device, std::vector<float>(static_cast<size_t>(rows * cols), -1.0f), rows) {}
  std::vector<float> Values() const {
    const Tensor host = device_.ToHost(tensor);
    return {host.data, host.data + host.rows * host.cols};
  }
  Tensor tensor;

 private:
  Device& device_;
  std::unique_ptr<Buffer> buffer_;
};

}  // namespace barn
