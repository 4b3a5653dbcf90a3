#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "sharding/gguf.h"
#include "sharding/gguf_cursor.h"

namespace barn {

// Array elements of one file, all arrays together. A widened element takes up to 32 bytes (an empty string), so this
// bounds the memory of a hostile header at 512 MiB beyond its own size; the largest real vocabularies have below 1
// million.
inline constexpr int64_t kGgufArrayElementsMax = 1 << 24;

// Reads a value type and a value. `label` names the key in messages; `array_elements` counts the file's elements so
// far.
absl::StatusOr<GgufValue> ReadGgufValue(GgufCursor& cursor, const std::string& label, int64_t& array_elements);

}  // namespace barn
