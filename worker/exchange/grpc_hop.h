#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "worker/exchange/hop.h"

namespace barn {

struct GrpcHopOptions {
  std::string address;                              // host:port of the next stage's Exchange service.
  std::string token;                                // Metadata "barn-token".
  absl::Duration send_timeout = absl::Seconds(30);  // How long a frame may wait for the one before to leave.
};

// Streams frames to an ExchangeServer. The stream opens with the first frame, and again with the first frame after it
// broke. Errors: those of CheckLink.
absl::StatusOr<std::unique_ptr<HopSender>> CreateGrpcHopSender(GrpcHopOptions options);

}  // namespace barn
