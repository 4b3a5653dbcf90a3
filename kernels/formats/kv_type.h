#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace barn {

// How an element of a key or value is stored. Q8_0: 8 bits, and one f16 scale for every 32 elements of a row.
enum class KvType { kF16, kF32, kQ8_0 };

inline constexpr int64_t kQ8Block = 32;

// Scales of a row of `width` elements. The last one may stand for fewer than 32.
constexpr int64_t Q8Scales(int64_t width) { return (width + kQ8Block - 1) / kQ8Block; }

// Bytes of one head's key or value: `width` elements, and with Q8_0 their scales.
constexpr int64_t KvRowBytes(KvType type, int64_t width) {
  if (type == KvType::kF32) return 4 * width;
  return type == KvType::kF16 ? 2 * width : width + 2 * Q8Scales(width);
}

// "f16", "f32", "q8_0".
std::string_view KvTypeName(KvType type);
// Nothing for any other word.
std::optional<KvType> ParseKvType(std::string_view name);
// All of them, for help texts and messages.
std::vector<std::string> KvTypeNames();

}  // namespace barn
