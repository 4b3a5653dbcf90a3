#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "coordinator/cluster/cluster_service.h"
#include "coordinator/cluster/event_queue.h"
#include "coordinator/scheduler/adapter_host.h"
#include "coordinator/scheduler/core.h"
#include "coordinator/scheduler/engine.h"
#include "proto/base/clock.h"
#include "sharding/gguf.h"
#include "sharding/plan.h"

namespace barn {

struct ClusterOptions {
  std::string listen = "127.0.0.1:0";  // HOST:PORT of the Cluster service; port 0: any free one.
  std::string token;                   // Workers must show it. May be empty on a loopback address only.
  std::string version = "0.1.0";       // Of this build; a worker's must be the same.
  std::string model_reference;         // For people: what `barn status` calls the model.
  int workers_expected = 1;            // The model is placed when so many have joined.
  int64_t context_tokens = 0;          // PlanOptions::context_tokens
  KvType kv = KvType::kF16;
  bool deterministic = false;  // See CoreOptions.
  bool draft = false;          // The same.
  PlanObjective objective = PlanObjective::kBoth;
  int64_t step_tokens_max = 512;
  int64_t waiting_max = 256;                           // Requests in the queue; more are refused.
  int64_t tenant_waiting_max = 128;                    // Of them, those of one tenant.
  int64_t running_max = 256;                           // Requests that take part in steps.
  absl::Duration stall_max = absl::Milliseconds(100);  // See CoreOptions,
  absl::Duration recovery_max = absl::Minutes(2);      // and here.
  absl::Duration heartbeat = absl::Milliseconds(500);
  absl::Duration lease = absl::Seconds(3);
  absl::Duration step_deadline = absl::Minutes(10);
};

// The engine of a cluster: the gRPC server that workers join, and one thread that runs the core. Thread-safe.
class ClusterEngine : public Engine, public AdapterHost {
 public:
  // Listens and waits for workers. `model` is read during the call only; its files are what workers load.
  // Unimplemented: the architecture is not supported. Unavailable: the address is in use. FailedPrecondition: an
  // address that other machines reach, without a token.
  static absl::StatusOr<std::unique_ptr<ClusterEngine>> Create(const ClusterOptions& options, const GgufModel& model,
                                                               const std::set<int32_t>& end_ids);
  // Every request ends with Unavailable, every worker is told to shut down.
  ~ClusterEngine() override;

  // Waits for the core's verdict, microseconds to a few milliseconds; not to be called from `on_update`.
  absl::StatusOr<int64_t> Submit(GenerateRequest request, std::function<void(RequestUpdate)> on_update) override;
  void Cancel(int64_t request_id) override;
  EngineState State() const override;
  int64_t LoadAdapter(std::vector<std::string> parts, std::function<void(absl::Status)> on_change) override;
  void UnloadAdapter(int64_t id) override;

  // The port that the Cluster service listens on.
  int port() const { return port_; }
  // OK when a request can be served. DeadlineExceeded: not within `timeout`; says what is missing. At once when nothing
  // but a change of the cluster can help: why (the model does not fit, a worker cannot load). `progress` (may be null)
  // sees the state every 20 ms meanwhile, and an error that it returns ends the wait.
  absl::Status WaitReady(absl::Duration timeout,
                         const std::function<absl::Status(const EngineState&)>& progress = nullptr);

 private:
  using OnUpdate = std::function<void(RequestUpdate)>;
  struct Submission;

  ClusterEngine(const ClusterOptions& options, CoreOptions core_options, Planner planner);
  absl::Status Listen();
  // The engine's thread.
  void Run();
  void Perform(Actions actions);
  void Report(const AdapterVerdict& verdict);

  const ClusterOptions options_;
  const SystemClock clock_;
  int port_ = 0;
  EventQueue queue_;
  ClusterService service_;
  std::unique_ptr<grpc::Server> server_;
  std::thread thread_;
  std::atomic<bool> stopping_ = false;
  std::atomic<int64_t> last_request_id_ = 0;
  std::atomic<int64_t> last_adapter_id_ = 0;
  std::map<int64_t, OnUpdate> on_update_;  // Of accepted requests; the engine's thread only.

  // The core belongs to the engine's thread; the lock lets others look between two steps.
  mutable absl::Mutex core_mutex_;
  Core core_ ABSL_GUARDED_BY(core_mutex_);
  bool ready_ ABSL_GUARDED_BY(core_mutex_) = false;
  absl::Status refusal_ ABSL_GUARDED_BY(core_mutex_);

  absl::Mutex submissions_mutex_;
  bool accepting_ ABSL_GUARDED_BY(submissions_mutex_) = true;
  std::map<int64_t, Submission*> submissions_ ABSL_GUARDED_BY(submissions_mutex_);  // Without a verdict yet.

  absl::Mutex adapters_mutex_;
  std::map<int64_t, std::function<void(absl::Status)>> on_adapter_ ABSL_GUARDED_BY(adapters_mutex_);
};

}  // namespace barn
