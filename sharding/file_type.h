#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace barn {

// The recipe name of metadata key general.file_type, as in file names: 15 is "Q4_K_M". Nullopt where the number is
// unknown.
std::optional<std::string> FileTypeName(int64_t file_type);

}  // namespace barn
