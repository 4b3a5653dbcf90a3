#include "coordinator/text/charsmap.h"

#include <cstring>

#include "absl/strings/str_format.h"
#include "coordinator/text/utf8.h"

namespace barn {
namespace {

// A unit of the double array: bits 0..7 the label, 8 whether a value hangs on it, 9 whether the offset is in steps of
// 256, 10..30 the offset, 31 set for values.
bool HasValue(uint32_t unit) { return (unit >> 8 & 1) != 0; }
uint32_t Value(uint32_t unit) { return unit & 0x7FFFFFFF; }
uint32_t Label(uint32_t unit) { return unit & 0x800000FF; }
uint32_t Offset(uint32_t unit) { return (unit >> 10) << ((unit & 0x200) >> 6); }

}  // namespace

absl::StatusOr<Charsmap> Charsmap::Create(std::string_view bytes) {
  Charsmap map;
  uint32_t trie_bytes = 0;
  if (bytes.empty()) return map;
  if (bytes.size() < sizeof(trie_bytes)) return absl::InvalidArgumentError("a charsmap of less than 4 bytes");
  std::memcpy(&trie_bytes, bytes.data(), sizeof(trie_bytes));
  bytes.remove_prefix(sizeof(trie_bytes));
  if (trie_bytes < sizeof(uint32_t) || trie_bytes % sizeof(uint32_t) != 0 || trie_bytes > bytes.size()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("a charsmap with a table of %d bytes in %d", trie_bytes, bytes.size()));
  }
  map.units_.resize(trie_bytes / sizeof(uint32_t));
  std::memcpy(map.units_.data(), bytes.data(), trie_bytes);
  map.replacements_ = bytes.substr(trie_bytes);
  if (!map.replacements_.empty() && map.replacements_.back() != '\0') map.replacements_ += '\0';
  return map;
}

size_t Charsmap::Append(std::string_view text, std::string& out) const {
  size_t matched = 0;
  size_t replacement = 0;
  uint32_t node = units_.empty() ? 0 : Offset(units_[0]);
  for (size_t i = 0; i < text.size() && !units_.empty(); ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    node ^= byte;
    if (node >= units_.size() || Label(units_[node]) != byte) break;
    const uint32_t unit = units_[node];
    node ^= Offset(unit);
    if (node >= units_.size()) break;
    if (!HasValue(unit)) continue;
    matched = i + 1;
    replacement = Value(units_[node]);
  }
  if (matched > 0 && replacement < replacements_.size()) {
    out += replacements_.c_str() + replacement;
    return matched;
  }
  const Utf8Step step = ReadUtf8(text);
  out += step.kind == Utf8Kind::kCharacter ? text.substr(0, step.bytes) : kReplacementCharacter;
  return step.bytes;
}

}  // namespace barn
