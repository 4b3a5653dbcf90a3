#pragma once

// The types that CUDA has for these; the simulator defines its own.
struct CUstream_st;
struct CUevent_st;
struct CUgraphExec_st;

namespace barn::gpu {

using Stream = CUstream_st*;
using Event = CUevent_st*;
using Graph = CUgraphExec_st*;

}  // namespace barn::gpu
