#pragma once

#include "kernels/check.h"
#include "kernels/cuda/grid_formats.h"
#include "kernels/cuda/weight_formats.h"
#include "kernels/formats/dtype.h"

// The formats with int8 products, in the groups that are compiled together: a file of kernels has instances of one.
#define BARN_SMALL_FORMATS(X) X(Q4_0) X(Q4_1) X(Q5_0) X(Q5_1) X(Q8_0)
#define BARN_TABLE_FORMATS(X) X(IQ4_NL) X(MXFP4) X(IQ4_XS)
#define BARN_K_FORMATS(X) X(Q2_K) X(Q3_K) X(Q4_K) X(Q5_K) X(Q6_K)
#define BARN_GRID2_FORMATS(X) X(IQ2_XXS) X(IQ2_XS) X(IQ2_S)
#define BARN_GRID3_FORMATS(X) X(IQ3_XXS) X(IQ3_S)
#define BARN_GRID1_FORMATS(X) X(IQ1_S) X(IQ1_M)
#define BARN_ALL_FORMATS(X) \
  BARN_SMALL_FORMATS(X)     \
  BARN_TABLE_FORMATS(X) BARN_K_FORMATS(X) BARN_GRID2_FORMATS(X) BARN_GRID3_FORMATS(X) BARN_GRID1_FORMATS(X)

namespace barn::gpu {

// Calls function(FormatX{}) for the run-time type.
template <class Function>
void DispatchFormat(DType dtype, Function function) {
  switch (dtype) {
#define BARN_CASE(name) \
  case DType::k##name:  \
    return function(Format##name{});
    BARN_ALL_FORMATS(BARN_CASE)
#undef BARN_CASE
    default:
      BARN_CHECK(!"a format without int8 products");
  }
}

}  // namespace barn::gpu
