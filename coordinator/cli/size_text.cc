#include "coordinator/cli/size_text.h"

#include <unistd.h>

#include <cmath>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"

namespace barn {
namespace {

constexpr std::pair<absl::string_view, double> kUnits[] = {
    {"", 1},
    {"B", 1},
    {"kB", 1e3},
    {"KB", 1e3},
    {"MB", 1e6},
    {"GB", 1e9},
    {"TB", 1e12},
    {"KiB", 1024},
    {"MiB", 1 << 20},
    {"GiB", 1 << 30},
    {"TiB", 1099511627776.0},
    {"K", 1024},
    {"M", 1 << 20},
    {"G", 1 << 30},
    {"T", 1099511627776.0},
};

}  // namespace

absl::StatusOr<int64_t> ParseBytes(absl::string_view text) {
  const size_t digits = text.find_first_not_of("0123456789.");
  const absl::string_view number = text.substr(0, digits);
  const absl::string_view unit =
      digits == absl::string_view::npos ? absl::string_view() : absl::StripAsciiWhitespace(text.substr(digits));
  double value = 0;
  if (absl::SimpleAtod(number, &value)) {
    for (const auto& [name, factor] : kUnits) {
      if (unit == name && value * factor < 9e18) {
        return static_cast<int64_t>(std::llround(value * factor));
      }
    }
  }
  return absl::InvalidArgumentError(absl::StrFormat("\"%s\" is not a size such as 8GiB or 500MB", text));
}

std::string FormatSeconds(double seconds) {
  const int64_t whole = std::llround(seconds);
  if (whole < 60) {
    return absl::StrFormat("%d s", whole);
  }
  return absl::StrFormat("%d min %d s", whole / 60, whole % 60);
}

int64_t PhysicalMemoryBytes() { return int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE); }

}  // namespace barn
