#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "coordinator/scheduler/fleet.h"
#include "proto/cluster.grpc.pb.h"

namespace barn {

// The coordinator's end of one Join call: reads become events, Send and Close come from the engine's thread. It owns
// itself until gRPC is done with the call; others hold shared pointers, and what they do after that has no effect.
class WorkerStream : private grpc::ServerBidiReactor<proto::WorkerMessage, proto::CoordinatorMessage> {
 public:
  struct Options {
    int64_t worker_id = 0;
    absl::Time opened;
    std::function<void(FleetEvent)> on_event;  // Must not block.
    std::function<void(int64_t)> on_done;      // The last call, with the worker id.
  };

  // Starts to read. `context` is gRPC's, alive until the call is done.
  static std::shared_ptr<WorkerStream> Start(grpc::CallbackServerContext* context, Options options);
  // What gRPC wants returned from the handler.
  grpc::ServerBidiReactor<proto::WorkerMessage, proto::CoordinatorMessage>* reactor() { return this; }

  // Queues a message; drops it once the stream is closing.
  void Send(std::shared_ptr<const proto::CoordinatorMessage> message);
  // Ends the call. OK: after what is queued is written. Otherwise at once, with the error for the worker.
  void Close(const absl::Status& reason);

  // The engine has processed one event of this stream.
  void EventDone() { events_waiting_.fetch_sub(1); }
  bool joined() const { return joined_; }
  absl::Time opened() const { return options_.opened; }

 private:
  WorkerStream(grpc::CallbackServerContext* context, Options options)
      : context_(context), options_(std::move(options)) {}

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  // The next call to gRPC, if any is due. gRPC may run reactions inside of a call to it, so none is made under the
  // lock, and `busy_` keeps the call from finishing meanwhile.
  void Advance();

  grpc::CallbackServerContext* const context_;
  const Options options_;
  proto::WorkerMessage incoming_;
  std::atomic<bool> joined_ = false;
  std::atomic<int> events_waiting_ = 0;
  std::shared_ptr<WorkerStream> self_;

  absl::Mutex mutex_;
  std::deque<std::shared_ptr<const proto::CoordinatorMessage>> outgoing_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<const proto::CoordinatorMessage> writing_ ABSL_GUARDED_BY(mutex_);
  int busy_ ABSL_GUARDED_BY(mutex_) = 0;  // Calls to gRPC on their way, and the write that is not done.
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status close_status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace barn
