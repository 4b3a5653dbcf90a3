#pragma once

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "coordinator/cluster/worker_stream.h"
#include "coordinator/scheduler/fleet.h"
#include "proto/base/clock.h"
#include "proto/cluster.grpc.pb.h"

namespace barn {

// The wire to the workers. Handlers check the token and pass on; they know nothing of plans. Thread-safe.
class ClusterService : public proto::Cluster::CallbackService {
 public:
  struct Options {
    std::string token;                         // Empty: none is asked for.
    absl::Duration hello_wait_max;             // A stream that has not said Hello by then is closed.
    std::function<void(FleetEvent)> on_event;  // Must not block.
    std::function<std::string()> status_json;  // For the Status call.
  };

  ClusterService(Options options, const Clock& clock) : options_(std::move(options)), clock_(clock) {}

  grpc::ServerBidiReactor<proto::WorkerMessage, proto::CoordinatorMessage>* Join(
      grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* Status(grpc::CallbackServerContext* context, const proto::StatusRequest* request,
                                   proto::StatusReply* reply) override;

  // The stream of a worker, null when it has ended.
  std::shared_ptr<WorkerStream> Find(int64_t worker_id);
  // An event that a stream made has been processed.
  void EventDone(const FleetEvent& event);
  // Returns when gRPC is done with every stream; after the server's shutdown.
  void AwaitNoStreams();
  // Closes streams that never said Hello.
  void CloseSilent();

 private:
  absl::Status CheckToken(const grpc::CallbackServerContext& context) const;

  const Options options_;
  const Clock& clock_;

  absl::Mutex mutex_;
  int64_t last_worker_id_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<int64_t, std::shared_ptr<WorkerStream>> streams_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace barn
