#pragma once

#include <cstdint>

#include "absl/status/statusor.h"

namespace barn {

// How fast this machine reads memory: bytes per second of `threads` threads together, bound to cores as a device binds
// them, that read once through a buffer far larger than the last-level cache, in huge pages where the system gives
// them. The best of several passes, since others only ever slow one down. Takes about half a second and 256 MiB, more
// where the cache is larger. InvalidArgument: threads < 1. ResourceExhausted: no memory.
absl::StatusOr<double> MeasureReadBandwidth(int threads);

}  // namespace barn
