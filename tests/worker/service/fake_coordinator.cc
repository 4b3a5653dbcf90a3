#include "tests/worker/service/fake_coordinator.h"

#include <chrono>

#include "absl/strings/str_cat.h"

namespace barn {

using namespace std::chrono_literals;

FakeCoordinator::FakeCoordinator() {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
}

FakeCoordinator::~FakeCoordinator() { server_->Shutdown(std::chrono::system_clock::now()); }

std::string FakeCoordinator::address() const { return absl::StrCat("127.0.0.1:", port_); }

std::shared_ptr<FakeCoordinator::Peer> FakeCoordinator::AwaitPeer(size_t n) {
  std::unique_lock<std::mutex> lock(mutex_);
  return changed_.wait_for(lock, 20s, [&] { return peers_.size() > n; }) ? peers_[n] : nullptr;
}

grpc::Status FakeCoordinator::Join(grpc::ServerContext* context,
                                   grpc::ServerReaderWriter<proto::CoordinatorMessage, proto::WorkerMessage>* stream) {
  const auto token = context->client_metadata().find("barn-token");
  if (token == context->client_metadata().end() || token->second != kToken) {
    return grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "wrong join token");
  }
  proto::WorkerMessage message;
  if (!stream->Read(&message) || !message.has_hello()) {
    return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "no hello");
  }
  const auto peer = std::make_shared<Peer>();
  peer->context_ = context;
  peer->stream_ = stream;
  peer->hello_ = message.hello();
  peer->rank_address_ = message.hello().rank_address();
  proto::CoordinatorMessage welcome;
  welcome.mutable_welcome()->set_worker_id(1);
  welcome.mutable_welcome()->set_heartbeat_ms(50);
  welcome.mutable_welcome()->set_lease_ms(1000);
  stream->Write(welcome);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    peers_.push_back(peer);
    changed_.notify_all();
  }
  while (stream->Read(&message)) {
    std::lock_guard<std::mutex> lock(peer->mutex_);
    if (message.has_heartbeat()) {
      ++peer->heartbeats_;
      peer->rank_address_ = message.heartbeat().rank_address();
    } else if (message.has_load_progress()) {
      peer->progress_.push_back(message.load_progress());
    } else {
      peer->inbox_.push_back(message);
    }
    peer->changed_.notify_all();
  }
  std::lock_guard<std::mutex> lock(peer->mutex_);
  peer->ended_ = true;
  peer->stream_ = nullptr;
  peer->changed_.notify_all();
  return grpc::Status::OK;
}

void FakeCoordinator::Peer::Send(const proto::CoordinatorMessage& message) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (stream_ != nullptr) {
    stream_->Write(message);
  }
}

std::optional<proto::WorkerMessage> FakeCoordinator::Peer::Next(bool (*wanted)(const proto::WorkerMessage&)) {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    if (!changed_.wait_for(lock, 20s, [&] { return !inbox_.empty() || ended_; }) || inbox_.empty()) {
      return std::nullopt;
    }
    proto::WorkerMessage message = std::move(inbox_.front());
    inbox_.pop_front();
    if (wanted(message)) {
      return message;
    }
  }
}

std::optional<proto::LoadResult> FakeCoordinator::Peer::NextLoadResult() {
  const auto message = Next([](const proto::WorkerMessage& m) { return m.has_load_result(); });
  return message ? std::optional(message->load_result()) : std::nullopt;
}

std::optional<proto::WorkerMessage> FakeCoordinator::Peer::NextAnswer() {
  return Next([](const proto::WorkerMessage& m) { return m.has_step_result() || m.has_step_failure(); });
}

std::optional<proto::AdapterResult> FakeCoordinator::Peer::NextAdapterResult() {
  const auto message = Next([](const proto::WorkerMessage& m) { return m.has_adapter_result(); });
  return message ? std::optional(message->adapter_result()) : std::nullopt;
}

int64_t FakeCoordinator::Peer::heartbeats() {
  std::lock_guard<std::mutex> lock(mutex_);
  return heartbeats_;
}

std::string FakeCoordinator::Peer::rank_address() {
  std::lock_guard<std::mutex> lock(mutex_);
  return rank_address_;
}

std::vector<proto::LoadProgress> FakeCoordinator::Peer::progress() {
  std::lock_guard<std::mutex> lock(mutex_);
  return progress_;
}

bool FakeCoordinator::Peer::AwaitEnd() {
  std::unique_lock<std::mutex> lock(mutex_);
  return changed_.wait_for(lock, 20s, [&] { return ended_; });
}

}  // namespace barn
