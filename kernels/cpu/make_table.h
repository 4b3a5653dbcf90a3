#pragma once

#include "kernels/cpu/float_driver.h"
#include "kernels/cpu/int8_panel.h"
#include "kernels/cpu/kernel_table.h"

namespace barn {
namespace {

template <class Isa, class... Formats>
KernelTable TableOf() {
  KernelTable table;
  ((table.int8_product[Formats::kTypeId] = Int8Product<Isa, Formats>), ...);
  table.float_row = FloatRow<Isa>;
  table.quantize_row = QuantizeRow<Isa>;
  table.halves_to_floats = Isa::HalvesToFloats;
  table.bf16_to_floats = Isa::Bf16ToFloats;
  return table;
}

template <class Isa>
KernelTable MakeTable() {
  return TableOf<Isa, FormatQ4_0, FormatQ4_1, FormatQ5_0, FormatQ5_1, FormatQ8_0, FormatQ2_K, FormatQ3_K, FormatQ4_K,
                 FormatQ5_K, FormatQ6_K, FormatIQ4_NL, FormatIQ4_XS, FormatMXFP4>();
}

}  // namespace
}  // namespace barn
