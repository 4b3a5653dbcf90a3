#pragma once

#include <cstddef>
#include <cstdint>

namespace barn {

// Runs all that Barn does with a model's header before any weight is read (header, catalogue, configuration, plan,
// show) on arbitrary bytes. Refusing them is fine; a crash, a hang, or sums that do not agree are not.
void RunGgufOnBytes(const uint8_t* data, size_t size);

}  // namespace barn
