#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"

namespace barn {

// OutOfRange unless [offset, offset + length) lies inside size_bytes.
inline absl::Status CheckBounds(std::string_view name, int64_t offset, int64_t length, int64_t size_bytes) {
  if (offset < 0 || length < 0 || offset > size_bytes || length > size_bytes - offset) {
    return absl::OutOfRangeError(
        absl::StrFormat("%s: %d bytes at offset %d are beyond its end at %d", name, length, offset, size_bytes));
  }
  return absl::OkStatus();
}

}  // namespace barn
