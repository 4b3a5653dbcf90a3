#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>

#include "absl/status/statusor.h"

namespace barn {

// One piece of device memory from which all others are cut, so that what a model takes is known when it is planned, and
// nothing is allocated from the driver while it runs. First fit; pieces begin at multiples of 256.
class DeviceArena {
 public:
  // On the device that the calling thread uses. ResourceExhausted: not enough free.
  static absl::StatusOr<std::unique_ptr<DeviceArena>> Create(int64_t bytes);
  ~DeviceArena();
  DeviceArena(const DeviceArena&) = delete;
  DeviceArena& operator=(const DeviceArena&) = delete;

  // ResourceExhausted, with both numbers: no free piece is as large. bytes may be 0.
  absl::StatusOr<std::byte*> Allocate(int64_t bytes);
  // Null is fine. Nothing may use the piece any more.
  void Free(std::byte* piece);

  int64_t bytes() const { return bytes_; }
  int64_t free_bytes() const { return free_bytes_; }
  int64_t used_bytes_max() const { return bytes_ - free_bytes_min_; }  // Since Create.
  bool Holds(const void* memory) const {
    const auto* at = static_cast<const std::byte*>(memory);
    return at >= base_ && at < base_ + bytes_;
  }

 private:
  DeviceArena(std::byte* base, int64_t bytes)
      : base_(base), bytes_(bytes), free_bytes_(bytes), free_bytes_min_(bytes), free_({{0, bytes}}) {}

  std::byte* base_;
  int64_t bytes_;
  int64_t free_bytes_;
  int64_t free_bytes_min_;
  std::map<int64_t, int64_t> free_;  // Bytes of each free piece, by offset.
  std::map<int64_t, int64_t> used_;
};

}  // namespace barn
