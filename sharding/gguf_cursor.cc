#include "sharding/gguf_cursor.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"
#include "proto/base/status.h"

namespace barn {
namespace {

constexpr int64_t kChunkBytesMax = 4 << 20;

}  // namespace

std::string QuoteForMessage(std::string_view text) {
  constexpr size_t kBytesMax = 80;
  std::string quoted = "\"";
  for (const char c : text.substr(0, kBytesMax)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte >= 0x7f || c == '"' || c == '\\') {
      absl::StrAppendFormat(&quoted, "\\x%02x", byte);
    } else {
      quoted += c;
    }
  }
  return quoted + (text.size() > kBytesMax ? "...\"" : "\"");
}

int64_t GgufCursor::remaining_bytes() const { return std::min(size_bytes_, kGgufHeaderBytesMax) - offset(); }

absl::Status GgufCursor::Invalid(std::string_view field, int64_t at, std::string_view reason) const {
  return absl::InvalidArgumentError(absl::StrFormat("%s: %s at byte %d: %s", store_.Name(), field, at, reason));
}

absl::Status GgufCursor::Truncated(std::string_view field, int64_t at, std::string_view reason) const {
  return absl::DataLossError(absl::StrFormat("%s: %s at byte %d: %s", store_.Name(), field, at, reason));
}

absl::Status GgufCursor::ReadBytes(std::span<std::byte> out, std::string_view field) {
  const auto wanted = static_cast<int64_t>(out.size());
  if (wanted > remaining_bytes()) {
    if (size_bytes_ > kGgufHeaderBytesMax) {
      return Invalid(field, offset(), absl::StrFormat("the header is longer than %d bytes", kGgufHeaderBytesMax));
    }
    return Truncated(field, offset(), absl::StrFormat("%d bytes wanted, but the file ends at %d", wanted, size_bytes_));
  }
  while (!out.empty()) {
    if (used_ == chunk_.size()) BARN_RETURN_IF_ERROR(Refill(field));
    const size_t count = std::min(out.size(), chunk_.size() - used_);
    std::memcpy(out.data(), chunk_.data() + used_, count);
    used_ += count;
    out = out.subspan(count);
  }
  return absl::OkStatus();
}

absl::Status GgufCursor::Refill(std::string_view field) {
  chunk_offset_ += static_cast<int64_t>(used_);
  used_ = 0;
  chunk_.resize(static_cast<size_t>(std::min(next_chunk_bytes_, size_bytes_ - chunk_offset_)));
  next_chunk_bytes_ = std::min(next_chunk_bytes_ * 2, kChunkBytesMax);
  absl::Status status = store_.Read(chunk_offset_, chunk_);
  if (status.ok()) return status;
  chunk_.clear();
  return absl::Status(status.code(), absl::StrFormat("%s at byte %d: %s", field, chunk_offset_, status.message()));
}

absl::StatusOr<std::string> GgufCursor::ReadString(int64_t bytes_max, std::string_view field) {
  const int64_t at = offset();
  BARN_ASSIGN_OR_RETURN(const uint64_t length, ReadNumber<uint64_t>(field));
  if (length > static_cast<uint64_t>(bytes_max)) {
    return Invalid(field, at, absl::StrFormat("string length %d is above %d", length, bytes_max));
  }
  if (length > static_cast<uint64_t>(remaining_bytes())) {
    return Truncated(field, at, absl::StrFormat("string length %d, but %d bytes remain", length, remaining_bytes()));
  }
  std::string text(static_cast<size_t>(length), '\0');
  BARN_RETURN_IF_ERROR(ReadBytes(std::as_writable_bytes(std::span(text)), field));
  return text;
}

}  // namespace barn
