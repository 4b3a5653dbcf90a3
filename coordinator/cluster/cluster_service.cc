#include "coordinator/cluster/cluster_service.h"

#include <variant>

#include "absl/strings/str_format.h"
#include "coordinator/cluster/grpc_status.h"
#include "proto/base/trust.h"

namespace barn {
namespace {

constexpr size_t kStreamsMax = 2048;

// Ends a call that is refused before it begins.
class RefusedStream : public grpc::ServerBidiReactor<proto::WorkerMessage, proto::CoordinatorMessage> {
 public:
  explicit RefusedStream(const absl::Status& status) { Finish(ToGrpcStatus(status)); }
  void OnDone() override { delete this; }
};

}  // namespace

absl::Status ClusterService::CheckToken(const grpc::CallbackServerContext& context) const {
  if (options_.token.empty()) return absl::OkStatus();
  const auto found = context.client_metadata().find("barn-token");
  if (found != context.client_metadata().end() &&
      EqualInConstantTime(std::string_view(found->second.data(), found->second.size()), options_.token)) {
    return absl::OkStatus();
  }
  return absl::UnauthenticatedError("the token is missing or wrong");
}

grpc::ServerBidiReactor<proto::WorkerMessage, proto::CoordinatorMessage>* ClusterService::Join(
    grpc::CallbackServerContext* context) {
  if (absl::Status status = CheckToken(*context); !status.ok()) return new RefusedStream(status);
  absl::MutexLock lock(&mutex_);
  if (streams_.size() >= kStreamsMax) {
    return new RefusedStream(absl::ResourceExhaustedError(absl::StrFormat("%d streams are open", kStreamsMax)));
  }
  const int64_t id = ++last_worker_id_;
  auto stream = WorkerStream::Start(
      context,
      {.worker_id = id, .opened = clock_.Now(), .on_event = options_.on_event, .on_done = [this](int64_t done_id) {
         absl::MutexLock done_lock(&mutex_);
         streams_.erase(done_id);
       }});
  streams_[id] = stream;
  return stream->reactor();
}

grpc::ServerUnaryReactor* ClusterService::Status(grpc::CallbackServerContext* context,
                                                 const proto::StatusRequest* /*request*/, proto::StatusReply* reply) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const absl::Status status = CheckToken(*context);
  if (status.ok()) reply->set_json(options_.status_json());
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

std::shared_ptr<WorkerStream> ClusterService::Find(int64_t worker_id) {
  absl::MutexLock lock(&mutex_);
  const auto found = streams_.find(worker_id);
  return found == streams_.end() ? nullptr : found->second;
}

void ClusterService::EventDone(const FleetEvent& event) {
  const int64_t id = std::visit(
      [](const auto& one) -> int64_t {
        if constexpr (requires { one.worker_id; }) {
          return one.worker_id;
        } else {
          return 0;
        }
      },
      event);
  if (auto stream = id > 0 ? Find(id) : nullptr) stream->EventDone();
}

void ClusterService::AwaitNoStreams() {
  absl::MutexLock lock(&mutex_);
  const auto none = [this] {
    mutex_.AssertHeld();
    return streams_.empty();
  };
  mutex_.Await(absl::Condition(&none));
}

void ClusterService::CloseSilent() {
  std::vector<std::shared_ptr<WorkerStream>> silent;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [id, stream] : streams_) {
      if (!stream->joined() && clock_.Now() - stream->opened() > options_.hello_wait_max) silent.push_back(stream);
    }
  }
  for (const auto& stream : silent) stream->Close(absl::DeadlineExceededError("no Hello has come"));
}

}  // namespace barn
