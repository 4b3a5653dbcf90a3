#pragma once

namespace barn {

// A worker probes a coordinator that has been silent for so long. The answer may take 10 s, so one that vanished
// without closing the connection (a frozen process, a cut cable) is noticed within 18 s.
inline constexpr int kJoinProbeMs = 8000;

// The coordinator ends connections that are probed more often than this; gRPC's own bound of 5 minutes would end every
// idle worker's.
inline constexpr int kJoinProbeMsMin = 1000;

}  // namespace barn
