#include "kernels/cpu/memory.h"

#include <sys/mman.h>

#include <algorithm>
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
  // [data, data + bytes) lies in the mapping [base, base + mapped_bytes).
  PageBuffer(void* base, size_t mapped_bytes, void* data, size_t bytes)
      : base_(base), mapped_bytes_(mapped_bytes), data_(data), bytes_(bytes) {}
  ~PageBuffer() override { munmap(base_, mapped_bytes_); }
  float* data() override { return static_cast<float*>(data_); }
  int64_t floats() const override { return static_cast<int64_t>(bytes_ / sizeof(float)); }

 private:
  void* base_;
  size_t mapped_bytes_;
  void* data_;
  size_t bytes_;
};

constexpr size_t kSmallPage = 4096;
constexpr size_t kHugePage = size_t{2} << 20;

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

absl::StatusOr<std::unique_ptr<Buffer>> AllocatePages(int64_t bytes, PageSize page_size) {
  if (bytes < 0) return absl::InvalidArgumentError(absl::StrCat("a buffer of ", bytes, " bytes"));
  const bool huge = page_size == PageSize::kHuge && static_cast<size_t>(bytes) >= kHugePage;
  const size_t rounded = (static_cast<size_t>(bytes) + kSmallPage - 1) / kSmallPage * kSmallPage;
  const size_t mapped = std::max(rounded, kSmallPage) + (huge ? kHugePage : 0);
  void* base = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) {
    return absl::ResourceExhaustedError(absl::StrCat("no memory for a buffer of ", bytes, " bytes"));
  }
  const auto address = reinterpret_cast<uintptr_t>(base);
  const size_t skip = huge ? (kHugePage - address % kHugePage) % kHugePage : 0;
  void* data = static_cast<std::byte*>(base) + skip;
  if (huge) madvise(data, rounded, MADV_HUGEPAGE);  // Without it the pages are small, and all else is the same.
  return std::make_unique<PageBuffer>(base, mapped, data, rounded);
}

}  // namespace barn
