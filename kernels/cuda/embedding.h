#pragma once

#include <cstdint>

#include "kernels/cuda/rows.h"
#include "kernels/cuda/stream.h"
#include "kernels/cuda/weight_planes.h"

namespace barn::gpu {

// Row ids[t] of matrix 0 as f32 to row t of out. ids: int32[out.rows] on the device, each in [0, table.rows): what is
// not reads row 0. Any format that has planes; out.cols == table.cols.
void EmbedRows(const DeviceWeight& table, const int32_t* ids, Rows out, Stream stream);

}  // namespace barn::gpu
