#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace barn {

// The activations of one step on their way to the next stage.
struct HopFrame {
  int64_t epoch = 0;
  int64_t step_id = 0;
  int64_t rows = 0;   // T
  int64_t width = 0;  // D
  std::string data;   // rows * width little-endian f32, row-major.

  std::span<const float> activations() const {
    return {reinterpret_cast<const float*>(data.data()), static_cast<size_t>(rows * width)};
  }
};

// The seam between neighbouring stages, sending side. One epoch, one thread at a time.
class HopSender {
 public:
  virtual ~HopSender() = default;

  // Hands activations [rows, width] on; returns when they are copied, not when they arrive. Steps go in order.
  // Unavailable: the next stage is gone or takes no frames within the sender's bound.
  virtual absl::Status Send(int64_t epoch, int64_t step_id, int64_t rows, int64_t width,
                            std::span<const float> activations) = 0;
};

// The receiving side. Thread-safe.
class HopReceiver {
 public:
  virtual ~HopReceiver() = default;

  // Waits for the frame of a step. DeadlineExceeded: it did not come. Aborted: another epoch began, or the receiver
  // closed. Unavailable: the stage before is gone. DataLoss: frames came out of order.
  virtual absl::StatusOr<HopFrame> Receive(int64_t epoch, int64_t step_id, absl::Time deadline) = 0;
};

}  // namespace barn
