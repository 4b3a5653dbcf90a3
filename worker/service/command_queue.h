#pragma once

#include <atomic>
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
  proto::CoordinatorMessage message;
  std::shared_ptr<Outbox> reply_to;
  std::stop_token stop;  // Requested when a later message overtakes this one.
};

// Where gRPC threads meet the compute thread. Thread-safe.
class CommandQueue {
 public:
  static constexpr size_t kStepsMax = 256;

  // False: kStepsMax commands wait already, or the queue is closed. A load, an unload and the end of an epoch take the
  // place of everything that waits and stop what runs.
  bool Push(proto::CoordinatorMessage message, std::shared_ptr<Outbox> reply_to) {
    absl::MutexLock lock(&mutex_);
    const bool in_turn = message.has_step() || message.has_load_adapter() || message.has_unload_adapter();
    if (!in_turn) {
      commands_.clear();
      for (std::stop_source* source : {&load_, &step_}) {
        source->request_stop();
        *source = std::stop_source();
      }
    }
    if (closed_ || commands_.size() >= kStepsMax) {
      return false;
    }
    const std::stop_token stop = in_turn ? step_.get_token() : load_.get_token();
    commands_.push_back({.message = std::move(message), .reply_to = std::move(reply_to), .stop = stop});
    waiting_.store(commands_.size(), std::memory_order_relaxed);
    return true;
  }

  // Forgets the steps that wait and stops one that runs; a load goes on, for the next stream may want the same.
  void DropSteps() {
    absl::MutexLock lock(&mutex_);
    step_.request_stop();
    step_ = std::stop_source();
    std::erase_if(commands_, [](const WorkerCommand& command) { return command.message.has_step(); });
    waiting_.store(commands_.size(), std::memory_order_relaxed);
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
    waiting_.store(commands_.size(), std::memory_order_relaxed);
    return command;
  }

  // A guess, without the lock.
  bool empty() const { return waiting_.load(std::memory_order_relaxed) == 0; }

  void Close() {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
    load_.request_stop();
    step_.request_stop();
  }

 private:
  std::atomic<size_t> waiting_ = 0;  // commands_.size(), or what it was.
  absl::Mutex mutex_;
  std::deque<WorkerCommand> commands_ ABSL_GUARDED_BY(mutex_);
  std::stop_source load_ ABSL_GUARDED_BY(mutex_);
  std::stop_source step_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace barn
