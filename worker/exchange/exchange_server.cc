#include "worker/exchange/exchange_server.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <utility>

#include "absl/strings/str_format.h"
#include "proto/exchange.grpc.pb.h"
#include "worker/exchange/link.h"

namespace barn {
namespace {

constexpr int kFrameOverheadBytes = 4096;

// One stream of frames, all of one epoch. Reads one frame at a time; while the queue is full no read is open, and
// HTTP/2 flow control holds the sender back. Deletes itself when the call is over. Only a reaction to a read finishes
// the call, so no other thread can race with it.
class PushReactor : public grpc::ServerReadReactor<proto::ActivationFrame> {
 public:
  PushReactor(const FrameRouter& router, std::string token, proto::PushReply* reply)
      : router_(router), token_(std::move(token)), reply_(reply) {
    StartRead(&message_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      End(grpc::Status::OK);
      return;
    }
    if (queue_ == nullptr) {
      queue_ = router_.Find(message_.epoch(), token_);
      if (queue_ == nullptr) {
        return End(grpc::Status(grpc::StatusCode::FAILED_PRECONDITION,
                                absl::StrFormat("a frame of epoch %d, which does not run here", message_.epoch())));
      }
      stream_ = queue_->BeginStream();
    }
    HopFrame frame{.epoch = message_.epoch(),
                   .step_id = message_.step_id(),
                   .rows = message_.rows(),
                   .width = message_.width(),
                   .data = std::move(*message_.mutable_data())};
    bool full = false;
    const absl::Status status = queue_->Push(
        stream_, std::move(frame), [this] { StartRead(&message_); }, &full);
    if (!status.ok()) {
      return End(grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message())));
    }
    reply_->set_frames(reply_->frames() + 1);
    if (!full) {
      StartRead(&message_);
    }
  }

  void OnDone() override { delete this; }

 private:
  void End(const grpc::Status& status) {
    if (queue_ != nullptr) {
      queue_->EndStream(stream_);
    }
    Finish(status);
  }

  const FrameRouter& router_;
  const std::string token_;
  proto::PushReply* const reply_;
  std::shared_ptr<FrameQueue> queue_;  // Of the first frame's epoch.
  int64_t stream_ = 0;
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
  explicit GrpcExchangeServer(FrameRouter& router) : router_(router) {}

  ~GrpcExchangeServer() override {
    router_.EndAll();
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

  int port() const override { return port_; }

 private:
  grpc::ServerReadReactor<proto::ActivationFrame>* Push(grpc::CallbackServerContext* context,
                                                        proto::PushReply* reply) override {
    const auto& metadata = context->client_metadata();
    const auto found = metadata.find("barn-token");
    const std::string given = found == metadata.end() ? "" : std::string(found->second.data(), found->second.size());
    if (!router_.Knows(given)) {
      return new RefusedReactor(grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "wrong exchange token"));
    }
    return new PushReactor(router_, given, reply);
  }

  FrameRouter& router_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ExchangeServer>> ExchangeServer::Start(const std::string& listen_address,
                                                                      FrameRouter& router) {
  auto server = std::make_unique<GrpcExchangeServer>(router);
  if (absl::Status status = server->Listen(listen_address); !status.ok()) {
    return status;
  }
  return server;
}

}  // namespace barn
