#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <stop_token>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "proto/cluster.pb.h"
#include "worker/service/join_stream.h"

namespace barn {

// What the compute thread does next. The answer goes to the stream that asked, if that still lives.
struct WorkerCommand {
  proto::CoordinatorMessage message;  // A load, step or unload.
  std::shared_ptr<Outbox> reply_to;
  std::stop_token stop;  // Requested when a later message overtakes this one.
};

// Where gRPC threads meet the compute thread. Thread-safe.
class CommandQueue {
 public:
  static constexpr size_t kStepsMax = 256;

  // False: kStepsMax steps wait already, or the queue is closed. A load or unload takes the place of everything that
  // waits and stops what runs.
  bool Push(proto::CoordinatorMessage message, std::shared_ptr<Outbox> reply_to) {
    absl::MutexLock lock(&mutex_);
    if (!message.has_step()) {
      commands_.clear();
      running_.request_stop();
      running_ = std::stop_source();
    }
    if (closed_ || commands_.size() >= kStepsMax) {
      return false;
    }
    commands_.push_back({.message = std::move(message), .reply_to = std::move(reply_to), .stop = running_.get_token()});
    return true;
  }

  // Forgets the steps that wait; a load goes on, for the next stream may want the same.
  void DropSteps() {
    absl::MutexLock lock(&mutex_);
    std::erase_if(commands_, [](const WorkerCommand& command) { return command.message.has_step(); });
  }

  // The next command; waits for one. Nothing: the queue is closed.
  std::optional<WorkerCommand> Pop() {
    absl::MutexLock lock(&mutex_);
    const auto ready = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return closed_ || !commands_.empty(); };
    mutex_.Await(absl::Condition(&ready));
    if (closed_) {
      return std::nullopt;
    }
    WorkerCommand command = std::move(commands_.front());
    commands_.pop_front();
    return command;
  }

  void Close() {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
    running_.request_stop();
  }

 private:
  absl::Mutex mutex_;
  std::deque<WorkerCommand> commands_ ABSL_GUARDED_BY(mutex_);
  std::stop_source running_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace barn
