#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "proto/cluster.grpc.pb.h"
#include "tests/cluster/fake_stage.h"

namespace barn {

// A worker process seen from the wire, on a real connection. Its activations do not travel: the last stage computes
// from tokens alone, as every stage gets them.
class ScriptedWorker {
 public:
  ScriptedWorker(int port, const std::string& token, const grpc::ChannelArguments& arguments = {});
  ~ScriptedWorker();

  bool Write(const proto::WorkerMessage& message) { return stream_->Write(message); }
  // False when the stream has ended.
  bool Read(proto::CoordinatorMessage* message) { return stream_->Read(message); }
  grpc::Status Finish() { return stream_->Finish(); }
  // As if the process died.
  void Vanish() { context_.TryCancel(); }

  static proto::WorkerMessage Hello(const std::string& name);
  // Says Hello and then serves from a thread of its own: loads at once, answers steps, sends heartbeats, until the
  // stream ends.
  void Serve(const std::string& name, const FakeModel& model);
  // After Serve: what Shutdown said, if it came.
  std::optional<std::string> shutdown_reason();

 private:
  void Run(FakeModel model);

  grpc::ClientContext context_;
  std::unique_ptr<proto::Cluster::Stub> stub_;
  std::unique_ptr<grpc::ClientReaderWriter<proto::WorkerMessage, proto::CoordinatorMessage>> stream_;
  std::optional<std::string> shutdown_reason_;
  std::thread thread_;
};

}  // namespace barn
