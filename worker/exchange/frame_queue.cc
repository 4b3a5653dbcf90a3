#include "worker/exchange/frame_queue.h"

#include <utility>

#include "absl/strings/str_format.h"

namespace barn {

void FrameQueue::BeginEpoch(const HopEpoch& epoch) {
  std::function<void()> on_room;
  {
    absl::MutexLock lock(&mutex_);
    epoch_ = epoch;
    frames_.clear();
    serving_stream_ = 0;
    stream_lost_ = false;
    on_room = std::exchange(on_room_, nullptr);
    changed_.SignalAll();
  }
  if (on_room) {
    on_room();
  }
}

void FrameQueue::Close() {
  std::function<void()> on_room;
  {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
    frames_.clear();
    on_room = std::exchange(on_room_, nullptr);
    changed_.SignalAll();
  }
  if (on_room) {
    on_room();
  }
}

int64_t FrameQueue::BeginStream() {
  absl::MutexLock lock(&mutex_);
  return next_stream_++;
}

absl::Status FrameQueue::Push(int64_t stream, HopFrame frame, std::function<void()> on_room, bool* full) {
  absl::MutexLock lock(&mutex_);
  *full = false;
  if (closed_ || frame.epoch != epoch_.epoch) {
    return absl::FailedPreconditionError(
        absl::StrFormat("a frame of epoch %d, this worker runs epoch %d", frame.epoch, epoch_.epoch));
  }
  // rows is bounded first, so the product below cannot overflow.
  if (frame.rows < 1 || frame.rows > epoch_.rows_max || frame.width != epoch_.width ||
      frame.rows * frame.width * static_cast<int64_t>(sizeof(float)) != static_cast<int64_t>(frame.data.size())) {
    return absl::InvalidArgumentError(
        absl::StrFormat("step %d: a frame of %d rows x %d with %d bytes; the plan has at most %d rows x %d",
                        frame.step_id, frame.rows, frame.width, frame.data.size(), epoch_.rows_max, epoch_.width));
  }
  if (frames_.size() >= kFramesMax) {
    return absl::ResourceExhaustedError(absl::StrFormat("more than %d frames wait", kFramesMax));
  }
  frames_.push_back(std::move(frame));
  serving_stream_ = stream;
  stream_lost_ = false;
  changed_.SignalAll();
  if (frames_.size() >= kFramesMax) {
    *full = true;
    on_room_ = std::move(on_room);
  }
  return absl::OkStatus();
}

void FrameQueue::EndStream(int64_t stream) {
  absl::MutexLock lock(&mutex_);
  if (stream == serving_stream_) {
    stream_lost_ = true;
    changed_.SignalAll();
  }
}

absl::StatusOr<HopFrame> FrameQueue::Take(int64_t epoch, int64_t step_id, absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  while (true) {
    if (closed_) {
      return absl::AbortedError("the exchange is closing");
    }
    if (epoch_.epoch != epoch) {
      return absl::AbortedError(absl::StrFormat("epoch %d ended, epoch %d runs", epoch, epoch_.epoch));
    }
    // Frames of steps that failed here before they were received.
    while (!frames_.empty() && frames_.front().step_id < step_id) {
      frames_.pop_front();
    }
    if (!frames_.empty()) {
      break;
    }
    if (stream_lost_) {
      return absl::UnavailableError(absl::StrFormat("step %d: the stage before closed its stream", step_id));
    }
    if (changed_.WaitWithDeadline(&mutex_, deadline) && frames_.empty()) {
      return absl::DeadlineExceededError(absl::StrFormat("step %d: no activations from the stage before", step_id));
    }
  }
  if (frames_.front().step_id != step_id) {
    return absl::DataLossError(
        absl::StrFormat("step %d: the stage before went on to step %d", step_id, frames_.front().step_id));
  }
  HopFrame frame = std::move(frames_.front());
  frames_.pop_front();
  return frame;
}

absl::StatusOr<HopFrame> FrameQueue::Receive(int64_t epoch, int64_t step_id, absl::Time deadline) {
  absl::StatusOr<HopFrame> frame = Take(epoch, step_id, deadline);
  std::function<void()> on_room;
  {
    absl::MutexLock lock(&mutex_);
    if (frames_.size() < kFramesMax) {
      on_room = std::exchange(on_room_, nullptr);
    }
  }
  if (on_room) {
    on_room();
  }
  return frame;
}

}  // namespace barn
