#include "worker/service/join_stream.h"

#include <utility>

#include "worker/exchange/link.h"

namespace barn {

void JoinStream::Start(proto::Cluster::Stub& stub, const std::string& token) {
  context_.AddMetadata("barn-token", token);
  stub.async()->Join(&context_, this);
  AddHold();  // Send starts writes outside of reactions.
  StartRead(&incoming_);
  started_ = true;
  StartCall();
}

JoinStream::~JoinStream() {
  if (!started_) {
    return;
  }
  closing_ = true;
  context_.TryCancel();
  Break();
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(&done_));
}

void JoinStream::Send(proto::WorkerMessage message) {
  const int64_t bytes = static_cast<int64_t>(message.ByteSizeLong());
  absl::MutexLock lock(&mutex_);
  if (broken_) {
    return;
  }
  if (outgoing_bytes_ + bytes > kOutgoingBytesMax && !outgoing_.empty()) {
    context_.TryCancel();
    return;
  }
  outgoing_.push_back(std::move(message));
  outgoing_bytes_ += bytes;
  if (outgoing_.size() == 1) {
    // Under the lock: Break() lets go of the call, and no write may start after that.
    StartWrite(&outgoing_.front());
  }
}

void JoinStream::Break() {
  {
    absl::MutexLock lock(&mutex_);
    if (broken_) {
      return;
    }
    broken_ = true;
  }
  RemoveHold();
}

void JoinStream::OnReadDone(bool ok) {
  if (!ok || closing_) {
    Break();
    return;
  }
  on_message_(std::move(incoming_));
  incoming_.Clear();
  StartRead(&incoming_);
}

void JoinStream::OnWriteDone(bool ok) {
  {
    absl::MutexLock lock(&mutex_);
    outgoing_bytes_ -= static_cast<int64_t>(outgoing_.front().ByteSizeLong());
    outgoing_.pop_front();
    if (ok && !broken_ && !outgoing_.empty()) {
      StartWrite(&outgoing_.front());
    }
  }
  if (!ok) {
    Break();
  }
}

void JoinStream::OnDone(const grpc::Status& status) {
  on_end_(status.ok() ? absl::UnavailableError("the coordinator closed the stream") : FromGrpc(status));
  absl::MutexLock lock(&mutex_);
  done_ = true;
}

}  // namespace barn
