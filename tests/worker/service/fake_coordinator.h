#pragma once

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "proto/cluster.grpc.pb.h"

namespace barn {

// The coordinator's end of the wire for tests of a worker: records what workers say and says what the test wants.
class FakeCoordinator : private proto::Cluster::Service {
 public:
  static constexpr char kToken[] = "join-token";

  // One Join call.
  class Peer {
   public:
    const proto::Hello& hello() const { return hello_; }
    void Send(const proto::CoordinatorMessage& message);
    // The next message of the given kind; others before it are dropped. Nothing: none came within 20 s.
    std::optional<proto::LoadResult> NextLoadResult();
    std::optional<proto::WorkerMessage> NextAnswer();  // StepResult or StepFailure.
    std::optional<proto::AdapterResult> NextAdapterResult();
    int64_t heartbeats();
    std::string rank_address();  // Of the last heartbeat, or of Hello.
    std::vector<proto::LoadProgress> progress();
    bool AwaitEnd();
    // Ends the call from the coordinator's side.
    void Cut() { context_->TryCancel(); }

   private:
    friend class FakeCoordinator;
    std::optional<proto::WorkerMessage> Next(bool (*wanted)(const proto::WorkerMessage&));

    grpc::ServerContext* context_ = nullptr;
    grpc::ServerReaderWriter<proto::CoordinatorMessage, proto::WorkerMessage>* stream_ = nullptr;
    proto::Hello hello_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<proto::WorkerMessage> inbox_;  // Guarded by mutex_, as all below.
    std::vector<proto::LoadProgress> progress_;
    int64_t heartbeats_ = 0;
    std::string rank_address_;
    bool ended_ = false;
  };

  FakeCoordinator();
  ~FakeCoordinator() override;

  std::string address() const;
  // The n-th call since the start, from 0; waits for it.
  std::shared_ptr<Peer> AwaitPeer(size_t n);

 private:
  grpc::Status Join(grpc::ServerContext* context,
                    grpc::ServerReaderWriter<proto::CoordinatorMessage, proto::WorkerMessage>* stream) override;

  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::shared_ptr<Peer>> peers_;
};

}  // namespace barn
