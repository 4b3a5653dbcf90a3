#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace barn {

// SHA-256 (FIPS 180-4) in lower-case hexadecimal, 64 characters.
std::string Sha256Hex(std::span<const std::byte> bytes);
std::string Sha256Hex(std::string_view text);

}  // namespace barn
