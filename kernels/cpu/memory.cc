#include "kernels/cpu/memory.h"

#include <sys/mman.h>

#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"

namespace barn {
namespace {

constexpr size_t kAlignment = 64;

class HeapBuffer final : public Buffer {
 public:
  HeapBuffer(float* data, int64_t floats) : data_(data), floats_(floats) {}
  ~HeapBuffer() override { ::operator delete(data_, std::align_val_t(kAlignment)); }
  float* data() override { return data_; }
  int64_t floats() const override { return floats_; }

 private:
  float* data_;
  int64_t floats_;
};

class PageBuffer final : public Buffer {
 public:
  PageBuffer(void* data, size_t bytes) : data_(data), bytes_(bytes) {}
  ~PageBuffer() override { munmap(data_, bytes_); }
  float* data() override { return static_cast<float*>(data_); }
  int64_t floats() const override { return static_cast<int64_t>(bytes_ / sizeof(float)); }

 private:
  void* data_;
  size_t bytes_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Buffer>> AllocateFloats(int64_t floats) {
  if (floats < 0 || floats > std::numeric_limits<int64_t>::max() / 8) {
    return absl::InvalidArgumentError(absl::StrCat("a buffer of ", floats, " floats"));
  }
  const size_t bytes = static_cast<size_t>(floats) * sizeof(float);
  void* data = ::operator new(bytes, std::align_val_t(kAlignment), std::nothrow);
  if (data == nullptr) {
    return absl::ResourceExhaustedError(absl::StrCat("no memory for a buffer of ", bytes, " bytes"));
  }
  std::memset(data, 0, bytes);
  return std::make_unique<HeapBuffer>(static_cast<float*>(data), floats);
}

absl::StatusOr<std::unique_ptr<Buffer>> AllocatePages(int64_t bytes) {
  if (bytes < 0) return absl::InvalidArgumentError(absl::StrCat("a KV buffer of ", bytes, " bytes"));
  const size_t rounded = (static_cast<size_t>(bytes) + 4095) / 4096 * 4096 + (bytes == 0 ? 4096 : 0);
  void* data = mmap(nullptr, rounded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) {
    return absl::ResourceExhaustedError(absl::StrCat("no memory for a KV buffer of ", bytes, " bytes"));
  }
  return std::make_unique<PageBuffer>(data, rounded);
}

}  // namespace barn
