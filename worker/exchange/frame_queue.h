#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "worker/exchange/hop.h"

namespace barn {

// What an epoch may put in a queue.
struct HopEpoch {
  int64_t epoch = 0;
  int64_t rows_max = 0;  // step_tokens_max
  int64_t width = 0;     // D
};

// A bounded queue of frames of one epoch at a time: the receiving end of every transport. Thread-safe.
class FrameQueue : public HopReceiver {
 public:
  static constexpr size_t kFramesMax = 16;

  // Frames of other epochs are dropped and their waits aborted. Streams of the former epoch no longer count.
  void BeginEpoch(const HopEpoch& epoch);
  // Aborts every wait, now and later.
  void Close();

  // A transport's stream delivers to the epoch of its first frame. Returns a number for Push and EndStream.
  int64_t BeginStream();
  // Queues a frame. InvalidArgument: its sizes are not those of the epoch. FailedPrecondition: another epoch runs.
  // *full says that the queue is full now: the transport then waits for on_room, which is called exactly once, by a
  // thread that receives, begins an epoch or closes.
  absl::Status Push(int64_t stream, HopFrame frame, std::function<void()> on_room, bool* full);
  // The stream ended. Waits for frames that it did not bring fail with Unavailable, unless a newer stream serves.
  void EndStream(int64_t stream);

  absl::StatusOr<HopFrame> Receive(int64_t epoch, int64_t step_id, absl::Time deadline) override;

 private:
  absl::StatusOr<HopFrame> Take(int64_t epoch, int64_t step_id, absl::Time deadline);

  absl::Mutex mutex_;
  absl::CondVar changed_;
  HopEpoch epoch_ ABSL_GUARDED_BY(mutex_);
  std::deque<HopFrame> frames_ ABSL_GUARDED_BY(mutex_);
  std::function<void()> on_room_ ABSL_GUARDED_BY(mutex_);
  int64_t next_stream_ ABSL_GUARDED_BY(mutex_) = 1;
  int64_t serving_stream_ ABSL_GUARDED_BY(mutex_) = 0;  // The stream of the latest frame; 0: none yet.
  bool stream_lost_ ABSL_GUARDED_BY(mutex_) = false;    // The serving stream ended.
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace barn
