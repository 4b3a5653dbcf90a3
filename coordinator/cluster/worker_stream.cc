#include "coordinator/cluster/worker_stream.h"

#include <utility>

#include "coordinator/cluster/grpc_status.h"

namespace barn {
namespace {

// A worker answers steps and sends a heartbeat now and then; one that is so far ahead of the core floods it.
constexpr int kEventsWaitingMax = 4096;

}  // namespace

std::shared_ptr<WorkerStream> WorkerStream::Start(grpc::CallbackServerContext* context, Options options) {
  std::shared_ptr<WorkerStream> stream(new WorkerStream(context, std::move(options)));
  stream->self_ = stream;
  stream->StartRead(&stream->incoming_);
  return stream;
}

void WorkerStream::OnReadDone(bool ok) {
  const int64_t id = options_.worker_id;
  if (!ok) {
    if (joined_) options_.on_event(WorkerLost{id, "the connection ended"});
    Close(absl::OkStatus());
    return;
  }
  if (events_waiting_.fetch_add(1) >= kEventsWaitingMax) {
    if (joined_) options_.on_event(WorkerLost{id, "it sends faster than the coordinator can read"});
    Close(absl::ResourceExhaustedError("messages come faster than the coordinator can read them"));
    return;
  }
  if (joined_) {
    options_.on_event(WorkerSaid{id, std::move(incoming_)});
  } else if (incoming_.has_hello()) {
    joined_ = true;
    options_.on_event(WorkerJoined{id, std::move(*incoming_.mutable_hello())});
  } else {
    Close(absl::InvalidArgumentError("the first message is not Hello"));
    return;
  }
  incoming_.Clear();
  StartRead(&incoming_);
}

void WorkerStream::OnWriteDone(bool ok) {
  {
    absl::MutexLock lock(&mutex_);
    --busy_;
    writing_.reset();
    if (!ok) {
      outgoing_.clear();
      closing_ = true;
    }
  }
  Advance();
}

void WorkerStream::OnCancel() {
  {
    absl::MutexLock lock(&mutex_);
    outgoing_.clear();
    closing_ = true;
  }
  Advance();
}

void WorkerStream::OnDone() {
  const std::shared_ptr<WorkerStream> self = std::move(self_);
  options_.on_done(options_.worker_id);
}

void WorkerStream::Send(std::shared_ptr<const proto::CoordinatorMessage> message) {
  {
    absl::MutexLock lock(&mutex_);
    if (closing_) return;
    outgoing_.push_back(std::move(message));
  }
  Advance();
}

void WorkerStream::Close(const absl::Status& reason) {
  bool cancel = false;
  {
    absl::MutexLock lock(&mutex_);
    if (closing_) return;
    closing_ = true;
    close_status_ = reason;
    if (!reason.ok()) {
      outgoing_.clear();
      // A write that the worker does not read would hold the call open for ever.
      cancel = writing_ != nullptr;
      if (cancel) ++busy_;
    }
  }
  if (cancel) {
    context_->TryCancel();
    absl::MutexLock lock(&mutex_);
    --busy_;
  }
  Advance();
}

void WorkerStream::Advance() {
  const proto::CoordinatorMessage* write = nullptr;
  absl::Status status;
  {
    absl::MutexLock lock(&mutex_);
    if (finished_ || busy_ > 0) return;
    if (!outgoing_.empty()) {
      writing_ = std::move(outgoing_.front());
      outgoing_.pop_front();
      ++busy_;
      write = writing_.get();
    } else if (closing_) {
      finished_ = true;
      status = close_status_;
    } else {
      return;
    }
  }
  if (write != nullptr) {
    StartWrite(write);
  } else {
    Finish(ToGrpcStatus(status));
  }
}

}  // namespace barn
