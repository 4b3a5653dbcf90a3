#pragma once

#include <cstdint>

#include "kernels/cuda/matvec.h"
#include "kernels/cuda/routes.h"
#include "kernels/cuda/stream.h"

namespace barn::gpu {

// out[t, r] = sum_k weight[0, r, k] * x[t, k] + bias[r] for any number of rows of activations. Up to kMatVecColumnsMax
// it is MatVec; beyond, tiles of int8 products on tensor cores. A row's result does not depend on how many rows there
// are on either side of that border, but on which side it is: the two sum in different orders.
void MatMul(const MatVecArgs& args, Stream stream);

// Which tile RoutedMatMul wants of SortRoutes for so many pairs and experts.
int64_t RoutedTilePairs(int64_t pairs, int64_t experts);

// RoutedMatVec for many pairs, which SortRoutes has put in order with RoutedTilePairs: row p of out is the product of
// pair p. Rows of pairs without an expert are not written.
void RoutedMatMul(const MatVecArgs& args, const SortedRoutes& routes, int64_t pairs_per_row, Stream stream);

}  // namespace barn::gpu
