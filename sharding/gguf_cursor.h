#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "sharding/store/store.h"

namespace barn {

// A header longer than this is refused: the largest vocabularies known take 20 MB.
inline constexpr int64_t kGgufHeaderBytesMax = int64_t{1} << 30;

// Untrusted text for a one-line message: escaped, quoted and cut at 80 bytes.
std::string QuoteForMessage(std::string_view text);

// Reads a header front to back through Store::Read, in chunks that grow from 64 KiB to 4 MiB, so that a remote file
// costs few requests and a small header few bytes. Every error is one line: file, field, byte offset, reason.
class GgufCursor {
 public:
  explicit GgufCursor(const Store& store) : store_(store), size_bytes_(store.size_bytes()) {}

  int64_t offset() const { return chunk_offset_ + static_cast<int64_t>(used_); }
  // Bytes that a header may still take: to the end of the file, at most kGgufHeaderBytesMax in all.
  int64_t remaining_bytes() const;

  absl::Status ReadBytes(std::span<std::byte> out, std::string_view field);

  // A little-endian number.
  template <class T>
  absl::StatusOr<T> ReadNumber(std::string_view field) {
    static_assert(std::endian::native == std::endian::little);
    T value;
    absl::Status status = ReadBytes(std::as_writable_bytes(std::span(&value, 1)), field);
    if (!status.ok()) return status;
    return value;
  }

  // A uint64 length and that many bytes; the length is checked before anything is allocated.
  absl::StatusOr<std::string> ReadString(int64_t bytes_max, std::string_view field);

  // InvalidArgument about `field`, which begins at `at`.
  absl::Status Invalid(std::string_view field, int64_t at, std::string_view reason) const;
  // DataLoss: the file ends too early.
  absl::Status Truncated(std::string_view field, int64_t at, std::string_view reason) const;

 private:
  absl::Status Refill(std::string_view field);

  const Store& store_;
  const int64_t size_bytes_;
  std::vector<std::byte> chunk_;
  int64_t chunk_offset_ = 0;  // Of chunk_[0] in the file.
  size_t used_ = 0;           // Bytes of chunk_ already read.
  int64_t next_chunk_bytes_ = 64 << 10;
};

}  // namespace barn
