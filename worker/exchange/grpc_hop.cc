#include "worker/exchange/grpc_hop.h"

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "proto/base/status.h"
#include "proto/exchange.grpc.pb.h"
#include "worker/exchange/link.h"

namespace barn {
namespace {

// One Push call. Frames are written one after the other; the caller may prepare the next while one is on its way.
class PushStream : public grpc::ClientWriteReactor<proto::ActivationFrame> {
 public:
  PushStream(proto::Exchange::Stub& stub, const std::string& token) {
    context_.AddMetadata("barn-token", token);
    stub.async()->Push(&context_, &reply_, this);
    AddHold();  // Writes start outside of reactions.
    StartCall();
  }

  // Cancels what is still under way; returns when gRPC is done with this object.
  ~PushStream() override {
    context_.TryCancel();
    Release();
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&done_));
  }

  absl::Status Write(proto::ActivationFrame frame, absl::Time deadline) {
    {
      absl::MutexLock lock(&mutex_);
      const auto idle = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return !writing_ || broken_ || done_; };
      if (!mutex_.AwaitWithDeadline(absl::Condition(&idle), deadline)) {
        broken_ = true;
        return absl::UnavailableError("the next stage takes no frames");
      }
      if (done_ || broken_) {
        return Failure();
      }
      writing_ = true;
      frame_ = std::move(frame);
    }
    StartWrite(&frame_);
    return absl::OkStatus();
  }

  void OnWriteDone(bool ok) override {
    {
      absl::MutexLock lock(&mutex_);
      writing_ = false;
      broken_ = broken_ || !ok;
    }
    if (!ok) {
      Release();  // Lets the call end, which tells why.
    }
  }

  void OnDone(const grpc::Status& status) override {
    absl::MutexLock lock(&mutex_);
    status_ = status;
    done_ = true;
  }

 private:
  void Release() {
    if (!released_.exchange(true)) {
      RemoveHold();
    }
  }

  absl::Status Failure() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    mutex_.AwaitWithTimeout(absl::Condition(&done_), absl::Seconds(1));
    const std::string why = done_ && !status_.ok() ? status_.error_message() : "its stream broke";
    return absl::UnavailableError("the next stage is gone: " + why);
  }

  std::atomic<bool> released_ = false;
  grpc::ClientContext context_;
  proto::PushReply reply_;
  proto::ActivationFrame frame_;
  absl::Mutex mutex_;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
  grpc::Status status_ ABSL_GUARDED_BY(mutex_);
};

class GrpcHopSender : public HopSender {
 public:
  explicit GrpcHopSender(GrpcHopOptions options)
      : options_(std::move(options)),
        channel_(DialLink(options_.address, kExchangeKeepaliveMs)),
        stub_(proto::Exchange::NewStub(channel_)) {
    channel_->GetState(/*try_to_connect=*/true);
  }

  absl::Status Send(int64_t epoch, int64_t step_id, int64_t rows, int64_t width,
                    std::span<const float> activations) override {
    if (stream_ == nullptr) {
      stream_ = std::make_unique<PushStream>(*stub_, options_.token);
    }
    proto::ActivationFrame frame;
    frame.set_epoch(epoch);
    frame.set_step_id(step_id);
    frame.set_rows(static_cast<int32_t>(rows));
    frame.set_width(static_cast<int32_t>(width));
    frame.set_data(activations.data(), activations.size_bytes());
    absl::Status status = stream_->Write(std::move(frame), absl::Now() + options_.send_timeout);
    if (!status.ok()) {
      stream_.reset();
      return absl::Status(status.code(),
                          absl::StrFormat("step %d to %s: %s", step_id, options_.address, status.message()));
    }
    return absl::OkStatus();
  }

 private:
  const GrpcHopOptions options_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<proto::Exchange::Stub> stub_;
  std::unique_ptr<PushStream> stream_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<HopSender>> CreateGrpcHopSender(GrpcHopOptions options) {
  BARN_RETURN_IF_ERROR(CheckLink("dial", options.address, options.token));
  return std::make_unique<GrpcHopSender>(std::move(options));
}

}  // namespace barn
