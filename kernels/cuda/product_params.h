#pragma once

#include <cstdint>

#include "kernels/check.h"
#include "kernels/cuda/gpu.h"
#include "kernels/cuda/matvec.h"
#include "kernels/cuda/weight_planes.h"

namespace barn::gpu {

// What the parameters of all kernels that multiply with a weight have in common.
template <class Params>
Params MakeProductParams(const MatVecArgs& args) {
  const PlaneLayout* layout = FindPlaneLayout(args.weight.dtype);
  BARN_CHECK(layout != nullptr && args.x.cols == args.weight.cols);
  Params params = {};
  for (int i = 0; i < layout->count; ++i) {
    params.planes[i] = reinterpret_cast<const uint8_t*>(args.weight.planes[i]);
    params.row_bytes[i] = static_cast<uint32_t>(PlaneRowBytes(*layout, i, args.weight.cols));
  }
  params.grid = args.weight.grid;
  params.codes = args.x.codes;
  params.scales = reinterpret_cast<const uint2*>(args.x.scales);
  params.out = args.out;
  params.bias = args.bias;
  params.out_stride = args.out_stride;
  params.rows = static_cast<uint32_t>(args.weight.rows);
  params.units = static_cast<uint32_t>(args.weight.cols / kUnitColumns);
  params.pairs_per_row = 1;
  return params;
}

}  // namespace barn::gpu
