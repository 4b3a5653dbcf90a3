#include "kernels/cuda/staged_inputs.h"

#include <algorithm>
#include <bit>

#include "kernels/cuda/runtime.h"

namespace barn {

StagedInputs::~StagedInputs() {
  for (const Chunk& chunk : chunks_) {
    gpu::FreePinned(chunk.pinned);
    arena_.Free(chunk.device);
  }
}

int StagedInputs::FindChunk(int64_t bytes) {
  for (size_t i = 0; i < chunks_.size(); ++i) {
    // A small array shall not take the place of a large one, which would need new memory then.
    if (!chunks_[i].busy && chunks_[i].bytes >= bytes && chunks_[i].bytes / 4 < std::max<int64_t>(bytes, 1024)) {
      return static_cast<int>(i);
    }
  }
  Chunk chunk;
  chunk.bytes = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(std::max<int64_t>(bytes, 1024))));
  absl::StatusOr<void*> pinned = gpu::AllocatePinned(static_cast<size_t>(chunk.bytes));
  if (!pinned.ok()) {
    status_.Update(pinned.status());
    return -1;
  }
  chunk.pinned = static_cast<std::byte*>(*pinned);
  absl::StatusOr<std::byte*> device = arena_.Allocate(chunk.bytes);
  if (!device.ok()) {
    gpu::FreePinned(chunk.pinned);
    status_.Update(device.status());
    return -1;
  }
  chunk.device = *device;
  chunks_.push_back(chunk);
  return static_cast<int>(chunks_.size()) - 1;
}

int StagedInputs::PutBytes(std::span<const std::byte> bytes) {
  if (bytes.empty()) return -1;
  const int index = FindChunk(static_cast<int64_t>(bytes.size()));
  if (index < 0) return -1;
  Chunk& chunk = chunks_[static_cast<size_t>(index)];
  chunk.busy = true;
  std::memcpy(chunk.pinned, bytes.data(), bytes.size());
  // Whole kilobytes: an array that grows by an element shall not be other work for a graph.
  constexpr size_t kCopyBytes = 1024;  // The smallest chunk; all are multiples of it.
  const size_t copied = (bytes.size() + kCopyBytes - 1) / kCopyBytes * kCopyBytes;
  gpu::CopyToDevice(chunk.device, chunk.pinned, copied, stream_);
  return index;
}

void StagedInputs::KeepBytes(std::span<const std::byte> bytes, Kept& kept) {
  if (kept.index_ >= 0 && std::ranges::equal(bytes, kept.host_)) return;
  if (kept.index_ >= 0) chunks_[static_cast<size_t>(kept.index_)].kept = false;  // Still busy until the next Recycle.
  kept.index_ = PutBytes(bytes);
  kept.host_.assign(bytes.begin(), bytes.end());
  if (kept.index_ >= 0) chunks_[static_cast<size_t>(kept.index_)].kept = true;
}

void StagedInputs::Recycle() {
  for (Chunk& chunk : chunks_) chunk.busy = chunk.kept;
}

}  // namespace barn
