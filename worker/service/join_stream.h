#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "proto/cluster.grpc.pb.h"

namespace barn {

// One Cluster.Join call. Thread-safe. `on_message` runs on a gRPC thread, one call at a time, must not block, and is
// not called after the destructor began.
class JoinStream : private grpc::ClientBidiReactor<proto::WorkerMessage, proto::CoordinatorMessage> {
 public:
  using OnMessage = std::function<void(proto::CoordinatorMessage)>;
  using OnEnd = std::function<void(absl::Status)>;

  JoinStream(OnMessage on_message, OnEnd on_end) : on_message_(std::move(on_message)), on_end_(std::move(on_end)) {}
  // Cancels the call and returns when gRPC is done with it.
  ~JoinStream() override;

  // Dials. Once, before anything else.
  void Start(proto::Cluster::Stub& stub, const std::string& token);

  // Queues a message; drops it when the stream is broken. A coordinator that reads nothing until kOutgoingBytesMax wait
  // loses the stream.
  void Send(proto::WorkerMessage message);

 private:
  static constexpr int64_t kOutgoingBytesMax = int64_t{256} << 20;

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;
  void Break();

  const OnMessage on_message_;
  const OnEnd on_end_;
  bool started_ = false;
  grpc::ClientContext context_;
  proto::CoordinatorMessage incoming_;
  std::atomic<bool> closing_ = false;

  absl::Mutex mutex_;
  std::deque<proto::WorkerMessage> outgoing_ ABSL_GUARDED_BY(mutex_);  // The front one is being written.
  int64_t outgoing_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;  // No write may start any more, and the hold is gone.
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
};

// Where other threads leave messages for the stream of the moment; drops them when it is gone. Thread-safe.
class Outbox {
 public:
  void Open(JoinStream& stream) {
    absl::MutexLock lock(&mutex_);
    stream_ = &stream;
  }
  void Send(proto::WorkerMessage message) {
    absl::MutexLock lock(&mutex_);
    if (stream_ != nullptr) {
      stream_->Send(std::move(message));
    }
  }
  void Close() {
    absl::MutexLock lock(&mutex_);
    stream_ = nullptr;
  }

 private:
  absl::Mutex mutex_;
  JoinStream* stream_ ABSL_GUARDED_BY(mutex_) = nullptr;
};

}  // namespace barn
