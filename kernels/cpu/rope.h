#pragma once

#include <cstdint>

#include "kernels/cpu/isa.h"
#include "kernels/device.h"

namespace barn {

// Rows [row_begin, row_end) of Device::Rope: rotates pair i of a head by position * inverse_frequencies[i] radians
// (RoPE, Su et al. 2021, section 3.4.2) and multiplies it by args.magnitude. The angle is formed in f64, so that long
// contexts lose nothing.
void RopeRows(Isa isa, const RopeArgs& args, int64_t row_begin, int64_t row_end);

}  // namespace barn
