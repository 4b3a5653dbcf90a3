#pragma once

#include <cstddef>
#include <span>

namespace barn {

// Takes the whole pages within `bytes`, part of a shared mapping of a file, out of this process's memory. They stay
// readable and come back from the file when they are read.
void DropPages(std::span<const std::byte> bytes);

}  // namespace barn
