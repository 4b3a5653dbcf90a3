#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <utility>

#include "absl/status/statusor.h"
#include "kernels/cuda/weight_planes.h"
#include "kernels/device.h"

namespace barn {

// A weight in device memory, in the planes of its format. Formats that have no kernels are kept as F32.
class GpuMatrix final : public Matrix {
 public:
  // The sizes of Device::Upload, checked. InvalidArgument: they disagree.
  struct Source {
    DType dtype = DType::kF32;
    MatrixShape shape = {};
    std::span<const std::byte> bytes = {};
    int64_t row_bytes = 0;
  };
  static absl::StatusOr<Source> Check(DType dtype, MatrixShape shape, std::span<const std::byte> bytes);
  // What the matrix takes on the device.
  static int64_t DeviceBytes(const Source& source);

  // memory: DeviceBytes of the device, which `free` gives back; nothing else uses it now. Copies.
  static absl::StatusOr<std::unique_ptr<GpuMatrix>> Create(const Source& source, std::byte* memory, const void* grid,
                                                           std::function<void()> free);
  ~GpuMatrix() override { free_(); }

  DType dtype() const override { return dtype_; }
  MatrixShape shape() const override { return shape_; }
  const gpu::DeviceWeight& view() const { return view_; }
  int64_t expert_bytes() const { return expert_bytes_; }  // Of one of shape().count, on the device.

 private:
  GpuMatrix(const Source& source, std::function<void()> free)
      : dtype_(source.dtype), shape_(source.shape), free_(std::move(free)) {}
  absl::Status Fill(const Source& source, std::byte* memory, const void* grid);
  absl::Status UploadDecoded(const Source& source, int64_t first_row, std::span<const std::byte> bytes);

  DType dtype_;
  MatrixShape shape_;
  std::function<void()> free_;
  gpu::DeviceWeight view_;
  int64_t expert_bytes_ = 0;
};

}  // namespace barn
