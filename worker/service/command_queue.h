#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <utility>
#include <vector>

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
  bool fetched = false;  // A load whose bytes are in the cache by now.
};

// The epoch that a command is about; 0 where it is about none.
inline int64_t EpochOf(const proto::CoordinatorMessage& message) {
  switch (message.message_case()) {
    case proto::CoordinatorMessage::kLoad:
      return message.load().epoch();
    case proto::CoordinatorMessage::kStep:
      return message.step().epoch();
    case proto::CoordinatorMessage::kUnload:
      return message.unload().epoch();
    case proto::CoordinatorMessage::kEndEpoch:
      return message.end_epoch().epoch();
    case proto::CoordinatorMessage::kLoadAdapter:
      return message.load_adapter().epoch();
    case proto::CoordinatorMessage::kUnloadAdapter:
      return message.unload_adapter().epoch();
    default:
      return 0;
  }
}

// Where gRPC threads meet the compute thread. Commands run in the order of their coming, those of all epochs in turn.
// Thread-safe.
class CommandQueue {
 public:
  static constexpr size_t kStepsMax = 256;  // Of all epochs.

  struct Pushed {
    bool taken = true;           // False: kStepsMax steps wait already, or the queue is closed.
    std::vector<int64_t> ended;  // Epochs that the message ended.
  };

  // A load ends every epoch of its deployment, an unload or the end of an epoch that epoch: what waits of it is
  // forgotten, what runs stops.
  Pushed Push(proto::CoordinatorMessage message, std::shared_ptr<Outbox> reply_to) {
    absl::MutexLock lock(&mutex_);
    Pushed pushed;
    const int64_t epoch = EpochOf(message);
    const bool ends = message.has_load() || message.has_unload() || message.has_end_epoch();
    if (ends) {
      End(epoch, pushed.ended);
      if (message.has_load()) EndDeployment(message.load().deployment(), pushed.ended);
    }
    pushed.taken = !closed_ && (ends || commands_.size() < kStepsMax);
    if (!pushed.taken) return pushed;
    if (message.has_load()) scopes_[epoch].deployment = message.load().deployment();
    std::stop_token stop;
    if (const auto scope = scopes_.find(epoch); scope != scopes_.end()) {
      stop = message.has_load() ? scope->second.load.get_token() : scope->second.steps.get_token();
    }
    commands_.push_back({.message = std::move(message), .reply_to = std::move(reply_to), .stop = stop});
    waiting_.store(commands_.size(), std::memory_order_relaxed);
    return pushed;
  }

  // Puts a command that was taken back at the end, unless a later message has overtaken it.
  void Return(WorkerCommand command) {
    absl::MutexLock lock(&mutex_);
    if (closed_ || command.stop.stop_requested()) return;
    commands_.push_back(std::move(command));
    waiting_.store(commands_.size(), std::memory_order_relaxed);
  }

  // Forgets the steps that wait and stops one that runs; a load goes on, for the next stream may want the same.
  void DropSteps() {
    absl::MutexLock lock(&mutex_);
    for (auto& [epoch, scope] : scopes_) {
      scope.steps.request_stop();
      scope.steps = std::stop_source();
    }
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
    for (auto& [epoch, scope] : scopes_) scope.Stop();
  }

 private:
  // An epoch that a load has begun.
  struct Scope {
    int64_t deployment = 0;
    std::stop_source load = {};
    std::stop_source steps = {};

    void Stop() {
      load.request_stop();
      steps.request_stop();
    }
  };

  void End(int64_t epoch, std::vector<int64_t>& ended) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    ended.push_back(epoch);
    std::erase_if(commands_, [&](const WorkerCommand& command) { return EpochOf(command.message) == epoch; });
    const auto scope = scopes_.find(epoch);
    if (scope == scopes_.end()) return;
    scope->second.Stop();
    scopes_.erase(scope);
  }
  void EndDeployment(int64_t deployment, std::vector<int64_t>& ended) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    std::vector<int64_t> epochs;
    for (const auto& [epoch, scope] : scopes_) {
      if (scope.deployment == deployment) epochs.push_back(epoch);
    }
    for (const int64_t epoch : epochs) End(epoch, ended);
  }

  std::atomic<size_t> waiting_ = 0;  // commands_.size(), or what it was.
  absl::Mutex mutex_;
  std::deque<WorkerCommand> commands_ ABSL_GUARDED_BY(mutex_);
  std::map<int64_t, Scope> scopes_ ABSL_GUARDED_BY(mutex_);  // By epoch.
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace barn
