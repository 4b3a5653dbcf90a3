#pragma once

#include "kernels/cpu/float_driver.h"
#include "kernels/cpu/grid_driver.h"
#include "kernels/cpu/int8_rare_formats.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/packed_driver.h"

namespace barn {
namespace {

template <class Isa, class Format>
void AddPanels(KernelTable& table) {
  if constexpr (Format::kKeepsRows) {
    return;
  } else if constexpr (Format::kIsGrid) {
    table.packed[Format::kTypeId] = {PanelBytes<Isa, Points<Format>>, PackPointPanel<Isa, Format>,
                                     PointsProduct<Isa, Format>};
  } else {
    table.packed[Format::kTypeId] = {PanelBytes<Isa, Format>, PackPanel<Isa, Format>, PackedProduct<Isa, Format>};
  }
}

template <class Isa, class... Formats>
KernelTable TableOf() {
  KernelTable table;
  ((table.int8_product[Formats::kTypeId] = Int8Product<Isa, Formats>), ...);
  ((table.scale_span[Formats::kTypeId] = Formats::kKind == Kind::kChunk ? ScaleSpan::kChunk : ScaleSpan::kBlock), ...);
  if constexpr (Isa::kPanelRows > 0) {
    (AddPanels<Isa, Formats>(table), ...);
    table.panel_rows = Isa::kPanelRows;
    table.make_tiles = MakeTiles;
  }
  table.f32_row = FloatRow<Isa, F32Row<Isa>>;
  table.f16_row = FloatRow<Isa, F16Row<Isa>>;
  table.bf16_row = FloatRow<Isa, Bf16Row<Isa>>;
  table.quantize_row = QuantizeRow<Isa>;
  return table;
}

template <class Isa>
KernelTable MakeTable() {
  return TableOf<Isa, FormatQ4_0, FormatQ4_1, FormatQ5_0, FormatQ5_1, FormatQ8_0, FormatQ2_K, FormatQ3_K, FormatQ4_K,
                 FormatQ5_K, FormatQ6_K, FormatIQ4_NL, FormatIQ4_XS, FormatMXFP4, FormatIQ1_S, FormatIQ1_M,
                 FormatIQ2_XXS, FormatIQ2_XS, FormatIQ2_S, FormatIQ3_XXS, FormatIQ3_S, FormatTQ1_0, FormatTQ2_0,
                 FormatNVFP4, FormatQ1_0, FormatQ2_0>();
}

}  // namespace
}  // namespace barn
