#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace barn {

// How an element of a key or value is stored. Q8_0 and Q4_0: a code of 8 or 4 bits, and one f16 scale for every 32
// elements of a row.
enum class KvType { kF16, kF32, kQ8_0, kQ4_0 };

inline constexpr int64_t kKvScaleSpan = 32;

constexpr bool KvHasScales(KvType type) { return type == KvType::kQ8_0 || type == KvType::kQ4_0; }

// Scales of a row of `width` elements. The last one may stand for fewer than 32.
constexpr int64_t KvScales(int64_t width) { return (width + kKvScaleSpan - 1) / kKvScaleSpan; }

// Bytes of the elements of one head's key or value, their scales not among them. Q4_0 has elements i and i + 16 of
// each 32 in the low and high half of byte i, so its rows are whole blocks of 32.
constexpr int64_t KvCodeBytes(KvType type, int64_t width) {
  switch (type) {
    case KvType::kF32:
      return 4 * width;
    case KvType::kQ8_0:
      return width;
    case KvType::kQ4_0:
      return kKvScaleSpan / 2 * KvScales(width);
    case KvType::kF16:
      break;
  }
  return 2 * width;
}

// Bytes of one head's key or value: its elements, and their scales where there are some.
constexpr int64_t KvRowBytes(KvType type, int64_t width) {
  return KvCodeBytes(type, width) + (KvHasScales(type) ? 2 * KvScales(width) : 0);
}

// "f16", "f32", "q8_0", "q4_0".
std::string_view KvTypeName(KvType type);
// Nothing for any other word.
std::optional<KvType> ParseKvType(std::string_view name);
// All of them, for help texts and messages.
std::vector<std::string> KvTypeNames();

}  // namespace barn
