#pragma once

#include <cstdint>
#include <string>
#include "absl/strings/string_view.h"

#include "absl/status/statusor.h"

namespace barn {

// "8GiB", "500MB", "1.5 GB", "4096": bytes. Units: B, kB/MB/GB/TB (powers of 1000), KiB/MiB/GiB/TiB or K/M/G/T (powers
// of 1024). InvalidArgument names the text.
absl::StatusOr<int64_t> ParseBytes(absl::string_view text);

std::string FormatSeconds(double seconds);  // "1 min 5 s"

int64_t PhysicalMemoryBytes();  // Of this machine.

}  // namespace barn
