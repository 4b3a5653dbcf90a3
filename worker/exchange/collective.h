#pragma once

#include <cstdint>
#include <span>
#include <stop_token>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace barn {

// Rows of f32 that all ranks fill together: row i at data + i * stride, and columns [bounds[r], bounds[r + 1]) of every
// row come from rank r. They lie where the ranks compute: in the host's memory, or in that of a device.
struct SharedRows {
  float* data = nullptr;
  int64_t rows = 0;
  int64_t stride = 0;               // In floats; >= bounds.back().
  std::span<const int64_t> bounds;  // [ranks + 1], ascending from 0.
};

// When to give up waiting for other ranks.
struct WaitBounds {
  absl::Time deadline = absl::InfiniteFuture();
  std::stop_token stop = {};
};

// The seam between the ranks that share every product of a stage. One epoch, one thread at a time; all ranks make the
// same calls in the same order.
class Collective {
 public:
  virtual ~Collective() = default;

  virtual int rank() const = 0;
  virtual int ranks() const = 0;

  // This rank's columns are there; returns when those of all others are too. Afterwards the caller may change the rows.
  // On a device both in the order of its work: AllGather only puts the exchange there, and Finish tells how it went.
  // Unavailable: a rank is gone. Aborted: wait.stop. DeadlineExceeded. DataLoss: a rank sent other sizes (where the
  // transport sees that; NCCL does not). After an error every call fails with it.
  virtual absl::Status AllGather(const SharedRows& shared, const WaitBounds& wait) = 0;
  // Returns when all exchanges so far are over, with the error of the first that failed. From an AllGather to the next
  // Finish the caller may wait for its device: the bounds of that AllGather end an exchange that does not come.
  virtual absl::Status Finish(const WaitBounds& /*wait*/) { return absl::OkStatus(); }
};

}  // namespace barn
