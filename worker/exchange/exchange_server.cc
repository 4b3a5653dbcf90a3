#include "worker/exchange/exchange_server.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "proto/base/trust.h"
#include "proto/exchange.grpc.pb.h"
#include "worker/exchange/link.h"

namespace barn {
namespace {

constexpr int kFrameOverheadBytes = 4096;

// One stream of frames. Reads one frame at a time; while the queue is full no read is open, and HTTP/2 flow control
// holds the sender back. Deletes itself when the call is over. Only a reaction to a read finishes the call, so no other
// thread can race with it.
class PushReactor : public grpc::ServerReadReactor<proto::ActivationFrame> {
 public:
  PushReactor(FrameQueue& queue, proto::PushReply* reply) : queue_(queue), reply_(reply), stream_(queue.BeginStream()) {
    StartRead(&message_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      queue_.EndStream(stream_);
      Finish(grpc::Status::OK);
      return;
    }
    HopFrame frame{.epoch = message_.epoch(),
                   .step_id = message_.step_id(),
                   .rows = message_.rows(),
                   .width = message_.width(),
                   .data = std::move(*message_.mutable_data())};
    bool full = false;
    const absl::Status status = queue_.Push(
        stream_, std::move(frame), [this] { StartRead(&message_); }, &full);
    if (!status.ok()) {
      queue_.EndStream(stream_);
      Finish(grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message())));
      return;
    }
    reply_->set_frames(reply_->frames() + 1);
    if (!full) {
      StartRead(&message_);
    }
  }

  void OnDone() override { delete this; }

 private:
  FrameQueue& queue_;
  proto::PushReply* const reply_;
  const int64_t stream_;
  proto::ActivationFrame message_;
};

// A stream that is refused before anything of it is read.
class RefusedReactor : public grpc::ServerReadReactor<proto::ActivationFrame> {
 public:
  explicit RefusedReactor(grpc::Status status) { Finish(std::move(status)); }
  void OnDone() override { delete this; }
};

class GrpcExchangeServer : public ExchangeServer, private proto::Exchange::CallbackService {
 public:
  explicit GrpcExchangeServer(FrameQueue& queue) : queue_(queue) {}

  ~GrpcExchangeServer() override {
    queue_.Close();
    if (server_ != nullptr) {
      server_->Shutdown(std::chrono::system_clock::now());
    }
  }

  absl::Status Listen(const std::string& address) {
    grpc::ServerBuilder builder;
    ConfigureServer(builder);
    builder.SetMaxReceiveMessageSize(static_cast<int>(kFrameBytesMax) + kFrameOverheadBytes);
    builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr || port_ == 0) {
      return absl::UnavailableError(
          absl::StrFormat("cannot listen on %s for activations; is the port in use?", address));
    }
    return absl::OkStatus();
  }

  absl::Status BeginEpoch(const HopEpoch& epoch, const std::string& token) override {
    const int64_t floats_max = kFrameBytesMax / static_cast<int64_t>(sizeof(float));
    if (epoch.rows_max < 1 || epoch.width < 1 || epoch.rows_max > floats_max / epoch.width) {
      return absl::InvalidArgumentError(absl::StrFormat("a step of %d rows x %d exceeds a frame of %d bytes",
                                                        epoch.rows_max, epoch.width, kFrameBytesMax));
    }
    {
      absl::MutexLock lock(&mutex_);
      token_ = token;
    }
    queue_.BeginEpoch(epoch);
    return absl::OkStatus();
  }

  int port() const override { return port_; }

 private:
  grpc::ServerReadReactor<proto::ActivationFrame>* Push(grpc::CallbackServerContext* context,
                                                        proto::PushReply* reply) override {
    const auto& metadata = context->client_metadata();
    const auto found = metadata.find("barn-token");
    const std::string given = found == metadata.end() ? "" : std::string(found->second.data(), found->second.size());
    absl::MutexLock lock(&mutex_);
    // An empty token means that no epoch began: nobody may push.
    if (token_.empty() || !EqualInConstantTime(given, token_)) {
      return new RefusedReactor(grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "wrong exchange token"));
    }
    return new PushReactor(queue_, reply);
  }

  FrameQueue& queue_;
  int port_ = 0;
  absl::Mutex mutex_;
  std::string token_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ExchangeServer>> ExchangeServer::Start(const std::string& listen_address,
                                                                      FrameQueue& queue) {
  auto server = std::make_unique<GrpcExchangeServer>(queue);
  if (absl::Status status = server->Listen(listen_address); !status.ok()) {
    return status;
  }
  return server;
}

}  // namespace barn
