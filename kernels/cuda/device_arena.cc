#include "kernels/cuda/device_arena.h"

#include <algorithm>

#include "absl/memory/memory.h"
#include "absl/strings/str_format.h"
#include "kernels/check.h"
#include "kernels/cuda/runtime.h"

namespace barn {
namespace {

constexpr int64_t kAlignment = 256;

}  // namespace

absl::StatusOr<std::unique_ptr<DeviceArena>> DeviceArena::Create(int64_t bytes) {
  if (bytes < kAlignment) {
    return absl::InvalidArgumentError(
        absl::StrFormat("device memory of %d bytes, want at least %d", bytes, kAlignment));
  }
  bytes = bytes / kAlignment * kAlignment;
  absl::StatusOr<void*> base = gpu::AllocateDevice(static_cast<size_t>(bytes));
  if (!base.ok()) return base.status();
  return absl::WrapUnique(new DeviceArena(static_cast<std::byte*>(*base), bytes));
}

DeviceArena::~DeviceArena() { gpu::FreeDevice(base_); }

absl::StatusOr<std::byte*> DeviceArena::Allocate(int64_t bytes) {
  BARN_CHECK(bytes >= 0);
  const auto shortage = [&] {
    return absl::ResourceExhaustedError(
        absl::StrFormat("device memory: %d bytes wanted, %d of %d are free", bytes, free_bytes_, bytes_));
  };
  if (bytes > bytes_) return shortage();
  const int64_t wanted = std::max<int64_t>(1, (bytes + kAlignment - 1) / kAlignment) * kAlignment;
  const auto it = std::find_if(free_.begin(), free_.end(), [&](const auto& piece) { return piece.second >= wanted; });
  if (it == free_.end()) return shortage();
  const int64_t offset = it->first;
  const int64_t rest = it->second - wanted;
  free_.erase(it);
  if (rest > 0) free_[offset + wanted] = rest;
  used_[offset] = wanted;
  free_bytes_ -= wanted;
  free_bytes_min_ = std::min(free_bytes_min_, free_bytes_);
  return base_ + offset;
}

void DeviceArena::Free(std::byte* piece) {
  if (piece == nullptr) return;
  const auto it = used_.find(piece - base_);
  BARN_CHECK(it != used_.end());
  int64_t offset = it->first;
  int64_t bytes = it->second;
  used_.erase(it);
  free_bytes_ += bytes;
  // Grows together with its free neighbours.
  auto next = free_.lower_bound(offset);
  if (next != free_.end() && next->first == offset + bytes) {
    bytes += next->second;
    next = free_.erase(next);
  }
  if (next != free_.begin()) {
    const auto before = std::prev(next);
    if (before->first + before->second == offset) {
      before->second += bytes;
      return;
    }
  }
  free_[offset] = bytes;
}

}  // namespace barn
