#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

#include "absl/status/statusor.h"
#include "kernels/device.h"

namespace barn {

// Working memory that only grows, 64-byte aligned, contents undefined after growth.
class Scratch {
 public:
  template <class T>
  T* Get(size_t count) {
    return reinterpret_cast<T*>(GetBytes(count * sizeof(T)));
  }

 private:
  struct Free {
    void operator()(std::byte* bytes) const { ::operator delete(bytes, std::align_val_t(64)); }
  };
  std::byte* GetBytes(size_t bytes) {
    if (bytes > bytes_) {
      // What grows with the length of a sequence then does not take new memory at every few tokens.
      if (bytes_ > 0) bytes = std::max(bytes, bytes_ + bytes_ / 2);
      memory_.reset();
      memory_.reset(static_cast<std::byte*>(::operator new(bytes, std::align_val_t(64))));
      bytes_ = bytes;
    }
    return memory_.get();
  }

  std::unique_ptr<std::byte, Free> memory_;
  size_t bytes_ = 0;
};

// Zeroed floats. InvalidArgument: negative; ResourceExhausted: no memory.
absl::StatusOr<std::unique_ptr<Buffer>> AllocateFloats(int64_t floats);

enum class PageSize { kSmall, kHuge };

// Zeroed memory whose pages come into being when they are first written, for key and value caches and repacked weights.
// kHuge asks for 2 MiB pages, which are read faster; they may be refused.
absl::StatusOr<std::unique_ptr<Buffer>> AllocatePages(int64_t bytes, PageSize page_size = PageSize::kSmall);

}  // namespace barn
