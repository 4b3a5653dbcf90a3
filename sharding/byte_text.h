#pragma once

#include <cstdint>
#include <string>

namespace barn {

// A size for people, with three digits or more: "17 B", "1.25 MiB", "374 GiB".
std::string ByteText(int64_t bytes);

}  // namespace barn
