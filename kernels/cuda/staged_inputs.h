#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "kernels/cuda/device_arena.h"
#include "kernels/cuda/stream.h"

namespace barn {

// Small arrays of the host on their way to kernels: copied to pinned memory at once and to the device in the order of
// the stream, so that the caller may change them when Put returns. Keeps its memory for the next step.
class StagedInputs {
 public:
  StagedInputs(DeviceArena& arena, gpu::Stream stream) : arena_(arena), stream_(stream) {}
  ~StagedInputs();
  StagedInputs(const StagedInputs&) = delete;
  StagedInputs& operator=(const StagedInputs&) = delete;

  // An array that was put before; it stays on the device until others take its place here.
  class Kept {
    friend class StagedInputs;
    std::vector<std::byte> host_;
    int index_ = -1;
  };

  // Where the array lies for work that is put on the stream before the next Recycle; null when there is no memory (see
  // status) or no element.
  template <class T>
  const T* Put(std::span<const T> values) {
    const int index = PutBytes(std::as_bytes(values));
    return index < 0 ? nullptr : reinterpret_cast<const T*>(chunks_[static_cast<size_t>(index)].device);
  }
  // The same for what layer after layer asks for: nothing is copied where `kept` holds it already.
  template <class T>
  const T* Put(std::span<const T> values, Kept& kept) {
    KeepBytes(std::as_bytes(values), kept);
    return kept.index_ < 0 ? nullptr : reinterpret_cast<const T*>(chunks_[static_cast<size_t>(kept.index_)].device);
  }

  // The stream has been waited for: memory of arrays that are not kept is used again.
  void Recycle();
  const absl::Status& status() const { return status_; }

 private:
  struct Chunk {
    std::byte* pinned = nullptr;
    std::byte* device = nullptr;
    int64_t bytes = 0;
    bool busy = false;
    bool kept = false;
  };

  int PutBytes(std::span<const std::byte> bytes);  // Index of a chunk, or -1.
  void KeepBytes(std::span<const std::byte> bytes, Kept& kept);
  int FindChunk(int64_t bytes);

  DeviceArena& arena_;
  gpu::Stream stream_;
  std::vector<Chunk> chunks_;
  absl::Status status_;
};

}  // namespace barn
