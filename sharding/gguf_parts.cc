#include "sharding/gguf_parts.h"

#include <algorithm>
#include <cctype>
#include <charconv>

#include "absl/strings/str_format.h"

namespace barn {
namespace {

// Every part keeps a file open; the usual limit is 1024.
constexpr int kPartsMax = 512;

bool AllDigits(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
}

int FiveDigits(std::string_view digits) {
  int value = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return value;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> PartReferences(std::string_view reference) {
  const bool is_url = reference.find("://") != std::string_view::npos;
  const std::string_view path = is_url ? reference.substr(0, reference.find_first_of("?#")) : reference;
  const std::string_view query = reference.substr(path.size());
  constexpr std::string_view kPattern = "-NNNNN-of-NNNNN.gguf";
  constexpr size_t kDigits = 5;
  const std::vector<std::string> alone = {std::string(reference)};
  if (path.size() < kPattern.size()) return alone;
  const std::string_view stem = path.substr(0, path.size() - kPattern.size());
  const std::string_view tail = path.substr(stem.size());
  const std::string_view number = tail.substr(1, kDigits);
  const std::string_view count = tail.substr(1 + kDigits + 4, kDigits);
  if (tail[0] != '-' || tail.substr(1 + kDigits, 4) != "-of-" || !tail.ends_with(".gguf") || !AllDigits(number) ||
      !AllDigits(count)) {
    return alone;
  }
  const int part = FiveDigits(number);
  const int parts = FiveDigits(count);
  if (part < 1 || part > parts || parts > kPartsMax) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s: part %s of %s is impossible; parts count from 1 to at most %d", reference, number, count, kPartsMax));
  }
  std::vector<std::string> references;
  for (int i = 1; i <= parts; ++i) {
    references.push_back(absl::StrFormat("%s-%05d-of-%05d.gguf%s", stem, i, parts, query));
  }
  return references;
}

}  // namespace barn
