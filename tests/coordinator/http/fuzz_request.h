#pragma once

#include <cstddef>
#include <cstdint>

namespace barn {

// What the fuzzer runs on each input: the bytes of an HTTP request through parser, JSON reader and request structs.
// Stops the process if a result breaks its promise (a refused request without a message, an accepted one outside its
// bounds).
void FuzzRequest(const uint8_t* data, size_t size);

}  // namespace barn
