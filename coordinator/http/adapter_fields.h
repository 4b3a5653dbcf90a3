#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "coordinator/http/fields.h"

namespace barn {

inline constexpr double kLoraScaleMax = 1000;
inline constexpr size_t kLoraEntriesMax = 256;

// llama-server's field `lora`: [{"id": 0, "scale": 0.5}], scales by number. Nullopt: absent, or an error in `fields`.
std::optional<std::map<int64_t, float>> ReadLora(Fields& fields);

}  // namespace barn
